"""The voice DiffPoseTalk from files to a motion: statistics, style, seeds, refusals."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import speak_motion
from benchmarks.speech_weights import (
    OPTIONS,
    SMALL,
    STYLE_OPTIONS,
    TINY,
    random_state,
    save,
    style_shapes,
    talker_shapes,
)
from headsplat.drive.diffposetalk import read_diffposetalk
from headsplat.drive.kinds import ABSOLUTE, STILL, MotionOptions
from headsplat.drive.motion_file import read_motion_file
from headsplat.runtime.errors import UserError
from headsplat.speech.diffposetalk.stats import read_stats, stats_of, track_codes
from headsplat.speech.diffposetalk.style import load_style_encoder, style_of
from headsplat.speech.diffposetalk.voice import Options, speak, speak_all, speaker_of
from headsplat.speech.voices import VOICES, SpeechOptions
from headsplat.synthetic.score import write_wav
from headsplat.track import write_track
from tests.unit.driven import arkit_like, flame_like, make_driven_subject, make_track
from tests.unit.small_talker import SMALL_ENCODER, small_model

HEAD = flame_like()
TRACK = replace(
    make_track(HEAD, 40), shape=np.random.default_rng(9).normal(size=300).astype(np.float32)
)
SUBJECT = make_driven_subject(HEAD, TRACK)
SOUND = np.random.default_rng(1).normal(size=20_000).astype(np.float32) * 0.1
TINY_STYLE = STYLE_OPTIONS | {"feature_dim": 6, "n_heads": 2, "n_layers": 2, "n_motions": 12}
MOTION = MotionOptions(ABSOLUTE, True)


def stats_arrays() -> dict:
    rng = np.random.default_rng(3)
    arrays = {}
    for part, size in (("shape", 100), ("exp", 50), ("pose", 6)):
        arrays[f"{part}_mean"] = rng.normal(size=size).astype(np.float32) * 0.1
        arrays[f"{part}_std"] = rng.uniform(0.1, 0.3, size).astype(np.float32)
    arrays["pose_std"][4:] = 0
    return arrays | {"pose_rot6d_mean": np.zeros(12, np.float32)}


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Official files of a small model."""
    monkeypatch.setattr("headsplat.speech.diffposetalk.model.ENCODER", SMALL_ENCODER)
    state = random_state(talker_shapes(OPTIONS | TINY, SMALL))
    np.savez(tmp_path / "stats_train.npz", **stats_arrays())
    return {
        "diffposetalk": save(tmp_path / "iter.pt", OPTIONS | TINY, model=state),
        "diffposetalk_stats": tmp_path / "stats_train.npz",
        "diffposetalk_style": save(
            tmp_path / "style.pt", TINY_STYLE, encoder=random_state(style_shapes(TINY_STYLE))
        ),
    }


def options(files, seed=0, **more) -> SpeechOptions:
    return SpeechOptions(files, MOTION, seed, "cpu", **more)


def test_the_voice_is_in_the_table(files):
    voice = VOICES["diffposetalk"]
    assert voice.load() is speak
    assert set(voice.assets + voice.optional) == set(files)


def test_its_codes_are_the_official_file_of_the_same_motion(tmp_path, files):
    motion = speak(SOUND, SUBJECT, TRACK, options(files, codes=tmp_path / "codes.npz"))
    assert len(motion.times) == int(len(SOUND) / 640)
    arrays = np.load(tmp_path / "codes.npz")
    assert {key: arrays[key].shape for key in arrays} == {
        "exp": (31, 50), "pose": (31, 6), "shape": (31, 100),
    }  # fmt: skip
    np.testing.assert_array_equal(arrays["shape"][3], TRACK.shape[:100])
    again = read_diffposetalk(tmp_path / "codes.npz", SUBJECT, MOTION)
    assert torch.equal(again.condition, motion.condition)
    assert torch.equal(again.rotation, motion.rotation)


def test_the_stage_takes_its_options_and_writes_its_codes(tmp_path, files):
    HEAD.save(tmp_path / "head.npz")
    write_track(tmp_path / "track.npz", TRACK)
    write_wav(tmp_path / "a.wav", SOUND, 16_000)
    del files["diffposetalk_stats"]
    speak_motion.main([
        f"--head={tmp_path / 'head.npz'}", f"--track={tmp_path / 'track.npz'}",
        f"--sound={tmp_path / 'a.wav'}", "--voice=diffposetalk", "--stats=subject", "--steps=5",
        *(f"--file={name}={path}" for name, path in files.items()), "--head-motion=still",
        f"--codes-out={tmp_path / 'codes.npz'}", f"--out={tmp_path / 'motion.npz'}",
    ])  # fmt: skip
    motion = read_motion_file(tmp_path / "motion.npz", SUBJECT, MotionOptions())
    codes = read_diffposetalk(tmp_path / "codes.npz", SUBJECT, MotionOptions(STILL))
    torch.testing.assert_close(motion.condition, codes.condition)
    assert motion.rotation.std(0).max() < 1e-6


def test_equal_inputs_give_equal_motions_and_seeds_differ(files):
    first, again, other = (speak(SOUND, SUBJECT, TRACK, options(files, seed)) for seed in (0, 0, 1))
    assert torch.equal(first.condition, again.condition)
    assert not torch.equal(first.condition, other.condition)
    louder = speak(SOUND * 2, SUBJECT, TRACK, options(files))
    assert not torch.equal(first.condition, louder.condition)


def test_sounds_and_repetitions_side_by_side_are_those_alone(files, monkeypatch):
    model = small_model(monkeypatch).model
    speaker = speaker_of(SUBJECT, TRACK, model, options(files))
    plain = replace(speaker, style=None)
    takes = [(SOUND, speaker, 1), (SOUND, speaker, 2), (SOUND[:9000], plain, 3)]
    together = speak_all(model, takes, Options(steps=8))
    assert [len(codes.exp) for codes in together] == [31, 31, 14]
    for take, codes in zip(takes, together, strict=True):
        (alone,) = speak_all(model, [take], Options(steps=8))
        np.testing.assert_allclose(codes.exp, alone.exp, atol=1e-5)
        np.testing.assert_allclose(codes.pose, alone.pose, atol=1e-5)
    assert np.abs(together[0].exp - together[1].exp).max() > 0.01


def test_codes_are_denormalized(files):
    arrays, stats = stats_arrays(), read_stats(files["diffposetalk_stats"])
    z = np.random.default_rng(5).normal(size=(7, 54))
    exp, pose = stats.codes(z)
    np.testing.assert_allclose(exp, z[:, :50] * arrays["exp_std"] + arrays["exp_mean"])
    wide = np.concatenate([z[:, 50:], np.zeros((7, 2))], 1)
    np.testing.assert_allclose(pose, wide * arrays["pose_std"] + arrays["pose_mean"])
    np.testing.assert_allclose(stats.normalized(exp, pose, with_head=True), z, atol=1e-5)
    exp, pose = stats.codes(z[:, :51])
    assert not pose[:, :3].any()
    jaw = z[:, 50] * arrays["pose_std"][3] + arrays["pose_mean"][3]
    np.testing.assert_allclose(pose[:, 3], jaw, rtol=1e-6)
    np.testing.assert_allclose(stats.normalized(exp, pose, with_head=False), z[:, :51], atol=1e-5)


def test_statistics_of_a_subject():
    track = make_track(HEAD, 250)
    exp, pose = track_codes(track, 25)
    np.testing.assert_allclose(exp, track.exp[:, :50], atol=1e-6)
    stats = stats_of(track, TRACK.shape, 25)
    assert not stats.normalized_shape(TRACK.shape).any()
    halves = np.array_split(exp, 2)
    np.testing.assert_allclose(stats.exp_std, np.mean([h.std(0) for h in halves], 0), rtol=1e-4)
    np.testing.assert_allclose(stats.exp_mean, exp.mean(0), rtol=1e-4)
    assert stats.pose_std[4:].tolist() == [0, 0]
    assert (stats.pose_std[:4] > 0).all()
    assert np.isfinite(stats.normalized(exp, pose, with_head=True)).all()


def test_a_track_at_another_rate_is_resampled_with_its_gaps():
    track = make_track(HEAD, 61, fps=50.0)
    exp, pose = track_codes(track, 25)
    assert len(exp) == 31
    np.testing.assert_allclose(exp, track.exp[::2, :50], atol=1e-6)
    gap = track[np.delete(np.arange(61), 30)]
    np.testing.assert_allclose(
        track_codes(gap, 25)[0][15], (track.exp[29, :50] + track.exp[31, :50]) / 2, atol=1e-6
    )
    # The head's rotation is the one in a world with y up.
    head = np.diag([1.0, -1, -1]) @ track.R[0]
    angle = np.arccos((np.trace(head) - 1) / 2)
    assert np.linalg.norm(pose[0, :3]) == pytest.approx(angle, rel=1e-4)


def test_a_style_is_the_mean_over_whole_windows(files):
    encoder = load_style_encoder(files["diffposetalk_style"])
    stats = read_stats(files["diffposetalk_stats"])
    found = style_of(TRACK, encoder, stats)
    z = stats.normalized(*track_codes(TRACK, 25), with_head=True)
    windows = torch.from_numpy(z[:36]).float().reshape(3, 12, 54)
    state = random_state(style_shapes(TINY_STYLE))
    layer = torch.nn.TransformerEncoderLayer(6, 2, 24, activation="gelu", batch_first=True)
    plain = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    head = "transformer."
    plain.load_state_dict({k.removeprefix(head): v for k, v in state.items() if k.startswith(head)})
    row = [(np.sin, np.cos)[k % 2](12 / 10_000 ** ((k - k % 2) / 6)) for k in range(6)]
    with torch.no_grad():
        x = windows @ state["motion_proj.weight"].T + state["motion_proj.bias"]
        expected = plain(x + torch.tensor(row, dtype=torch.float32)).mean(1).mean(0)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.isfinite(style_of(TRACK[:5], encoder, stats)).all()


def test_a_style_as_a_file(tmp_path, files):
    encoder = load_style_encoder(files["diffposetalk_style"])
    np.save(
        tmp_path / "style.npy", style_of(TRACK, encoder, read_stats(files["diffposetalk_stats"]))
    )
    by_file = speak(
        SOUND, SUBJECT, TRACK, options(files | {"diffposetalk_style": tmp_path / "style.npy"})
    )
    by_track = speak(SOUND, SUBJECT, TRACK, options(files))
    assert torch.equal(by_file.condition, by_track.condition)
    np.save(tmp_path / "style.npy", np.zeros(5, np.float32))
    with pytest.raises(UserError, match=r"style\.npy: is float32 of shape \[5\], expected finite"):
        speak(SOUND, SUBJECT, TRACK,
              options(files | {"diffposetalk_style": tmp_path / "style.npy"}))  # fmt: skip


def test_statistics_are_asked_for_or_taken_from_the_subject(files):
    files.pop("diffposetalk_stats")
    with pytest.raises(UserError, match=r"request form .* or set stats to 'subject'"):
        speak(SOUND, SUBJECT, TRACK, options(files))
    motion = speak(SOUND, SUBJECT, TRACK, options(files, own={"stats": "subject", "steps": 5}))
    assert torch.isfinite(motion.condition).all()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda a: a.pop("exp_mean"), "'exp_mean' is missing"),
        (lambda a: a.update(exp_std=np.zeros(50)), "'exp_std' is not above 0"),
        (lambda a: a.update(pose_std=np.ones(5)), r"'pose_std' is float64 of shape \[5\]"),
        (lambda a: a.update(shape_mean=np.full(100, np.nan)), "'shape_mean' holds numbers beyond"),
        (lambda a: a.update(shape_mean=np.full(100, "x")), "'shape_mean' is <U1 of shape"),
    ],
)
def test_other_statistics_are_one_line(tmp_path, change, expected):
    arrays = stats_arrays()
    change(arrays)
    np.savez(tmp_path / "stats.npz", **arrays)
    with pytest.raises(UserError, match=rf"stats\.npz: .*{expected}"):
        read_stats(tmp_path / "stats.npz")


def test_other_heads_and_short_sounds_are_one_line(files):
    head = arkit_like()
    other = make_driven_subject(head, make_track(head))
    with pytest.raises(UserError, match=r"^DiffPoseTalk's codes are those of FLAME 2020"):
        speak(SOUND, other, make_track(head), options(files))
    with pytest.raises(UserError, match="the sound has 100 samples"):
        speak(SOUND[:100], SUBJECT, TRACK, options(files))
    with pytest.raises(UserError, match="steps 501: must be between 0 and 500"):
        speak(SOUND, SUBJECT, TRACK, options(files, own={"steps": 501}))


@pytest.mark.parametrize("changed", [{"no_head_pose": True}, {"feature_dim": 8}])
def test_the_encoder_of_another_model_is_one_line(files, changed):
    own = TINY_STYLE | changed
    state = random_state(style_shapes(own))
    save(files["diffposetalk_style"], own, encoder=state)
    with pytest.raises(UserError, match=r"style\.pt: is the style encoder of another model"):
        speak(SOUND, SUBJECT, TRACK, options(files))


def test_a_motion_that_is_not_finite_is_one_line(files):
    state = random_state(talker_shapes(OPTIONS | TINY, SMALL))
    state["denoising_net.motion_dec.2.weight"] *= 1e38
    save(files["diffposetalk"], OPTIONS | TINY, model=state)
    with pytest.raises(UserError, match="DiffPoseTalk's motion is not finite; set precision"):
        speak(SOUND, SUBJECT, TRACK, options(files))
