"""The personal voice: learned from the built-in score, tested on words that it lacks."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from headsplat.runtime.errors import UserError
from headsplat.runtime.files import read_json, read_npz, write_npz
from headsplat.speech.audio import RATE, NoSpeech, Speech, read_speech
from headsplat.speech.clip import prepare
from headsplat.speech.features import Normalization, log_mels
from headsplat.speech.learn import learn_voice
from headsplat.speech.lips import Lips
from headsplat.speech.mouth import MouthColumns, with_mouth
from headsplat.speech.options import VoiceOptions
from headsplat.speech.personal import read_voice
from headsplat.speech.regression import RegressionTask, kernel
from headsplat.speech.score import closure_share, lip_scores
from headsplat.synthetic.score import hello, other_words, write_wav
from headsplat.synthetic.speech import compose_speech
from headsplat.synthetic.voice import SAMPLE_RATE
from headsplat.track import write_track
from tests.unit.driven import flame_like, make_track
from tests.unit.spoken import Spoken, spoken_clip

PLAIN = VoiceOptions(closures="never")


@pytest.fixture(scope="module")
def clip() -> Spoken:
    return spoken_clip()


@pytest.fixture(scope="module")
def learned(clip: Spoken, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """`voice.npz` and the folder with the clip's files."""
    folder = tmp_path_factory.mktemp("voice")
    track, sound, head = clip.files(folder)
    learn_voice(track, sound, head, folder / "voice.npz", folder / "voice.json", PLAIN)
    return folder / "voice.npz", folder


def heard(samples: np.ndarray, folder: Path) -> np.ndarray:
    write_wav(folder / "heard.wav", samples, SAMPLE_RATE)
    return read_speech(folder / "heard.wav").samples


def test_the_report_compares_with_both_baselines(learned):
    report = read_json(learned[0].with_name("voice.json"))
    assert report["final"]["corr_opening"] > 0.95
    assert report["final"]["corr_opening"] > report["energy"]["corr_opening"] + 0.05
    assert report["final"]["lve_mm"] < 0.5 * report["mean"]["lve_mm"]
    assert 0.8 < report["final"]["std_ratio"] < 1.1
    assert 15 < report["seconds"] <= 24
    assert abs(report["lag_s"]) < 0.08
    assert report["closure"] is None


def test_words_that_the_clip_lacks(clip, learned, tmp_path):
    score, voice = other_words(clip.head), read_voice(learned[0], clip.head)
    mels = log_mels(heard(score.samples, tmp_path))
    times = np.arange(len(score.condition)) / 25
    values, near = voice.mouth(mels, times, Normalization.of(mels))
    lips, columns = Lips(clip.head, clip.track.identity()), MouthColumns.of(clip.head)
    seen, made = (lips.shapes(c) for c in (score.condition, columns.put(score.condition, values)))
    found = lip_scores(made, seen)
    assert found["corr_opening"] > 0.93
    assert found["corr_jaw"] > 0.93
    still = lips.shapes(columns.put(score.condition, np.tile(voice.regression.mean, (300, 1))))
    assert found["lve_mm"] < 0.45 * lip_scores(still, seen)["lve_mm"]
    assert voice.trust(near) == 1


def test_noise_is_not_trusted(clip, learned):
    voice = read_voice(learned[0], clip.head)
    mels = log_mels(np.random.default_rng(0).normal(0, 0.1, 2 * RATE).astype(np.float32))
    _, near = voice.mouth(mels, np.arange(40) / 25, Normalization.of(mels))
    assert voice.trust(near) == 0


def test_equal_inputs_give_equal_bytes(clip, learned, tmp_path):
    voice, folder = learned
    files = (folder / name for name in ("track.npz", "clip.wav", "head.npz"))
    learn_voice(*files, tmp_path / "again.npz", tmp_path / "again.json", PLAIN)
    assert (tmp_path / "again.npz").read_bytes() == voice.read_bytes()


@pytest.mark.parametrize("shift", [-0.12, 0.12, 0.3])
def test_a_shifted_sound_is_found(clip, tmp_path, shift):
    samples = heard(clip.samples, tmp_path)
    _, usual = prepare(clip.track, Speech(samples), clip.head)
    count = round(abs(shift) * RATE)
    moved = np.pad(samples, (count, 0)) if shift > 0 else samples[count:]
    found, lag = prepare(clip.track, Speech(moved), clip.head)
    assert lag - usual == pytest.approx(shift, abs=0.04)
    assert found.times[0] - (found.track.ids[0] - 1) / 25 == pytest.approx(shift, abs=0.08)


def test_too_little_speech_is_refused_and_a_little_is_named(clip, tmp_path, caplog):
    samples = heard(clip.samples, tmp_path)
    with pytest.raises(UserError, match="s of speech, a voice needs 5 or more"):
        prepare(clip.track, Speech(samples[: 4 * RATE]), clip.head)
    with pytest.raises(UserError, match="0.0 s of speech"):
        prepare(clip.track, Speech(np.zeros_like(samples)), clip.head)
    prepare(clip.track, Speech(samples[: 12 * RATE]), clip.head)
    assert "20 s at least" in caplog.text


def test_a_still_face_has_a_voice_that_does_not_move_it(clip, tmp_path, caplog):
    _, sound, head = clip.files(tmp_path)
    still = {n: np.repeat(getattr(clip.track, n)[:1], len(clip.track), 0) for n in ("exp", "jaw")}
    write_track(tmp_path / "still.npz", replace(clip.track, **still))
    report = tmp_path / "v.json"
    learn_voice(tmp_path / "still.npz", sound, head, tmp_path / "v.npz", report, PLAIN)
    assert read_json(report)["personal"]["corr_opening"] == 0
    assert read_json(report)["lag_s"] is None
    assert "hardly predicts its lips" in caplog.text


def test_few_frames_and_impossible_codes_are_one_line(clip, tmp_path):
    speech = Speech(heard(clip.samples, tmp_path))
    few = replace(clip.track[np.arange(24)], fps=1.0)
    with pytest.raises(UserError, match="the clip has 24 frames with sound, a voice needs 100"):
        prepare(few, speech, clip.head)
    with pytest.raises(UserError, match="codes are far beyond any face"):
        prepare(replace(clip.track, exp=clip.track.exp * 1e20), speech, clip.head)
    with pytest.raises(UserError, match="--gain nan: must be between"):
        learn_voice(*(tmp_path / "x",) * 5, VoiceOptions(float("nan")))


def test_a_sound_that_does_not_fit_the_lips_is_named(clip, tmp_path, caplog):
    track, sound, head = clip.files(tmp_path)
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 0.1, 24 * SAMPLE_RATE) * (np.arange(24 * SAMPLE_RATE) % 40_000 < 30_000)
    write_wav(sound, noise, SAMPLE_RATE)
    learn_voice(track, sound, head, tmp_path / "v.npz", tmp_path / "v.json", PLAIN)
    assert "hardly predicts its lips" in caplog.text


def test_a_face_that_does_not_move_has_no_lag(clip, tmp_path):
    exp, jaw = (np.repeat(v[:1], len(v), 0) for v in (clip.track.exp, clip.track.jaw))
    still = replace(clip, track=replace(clip.track, exp=exp, jaw=jaw))
    learn_voice(*still.files(tmp_path), tmp_path / "v.npz", tmp_path / "v.json", PLAIN)
    report = read_json(tmp_path / "v.json")
    assert (report["lag_s"], report["final"]["corr_opening"]) == (None, 0)


def test_a_head_without_landmarks_of_the_lips_has_no_voice(clip, tmp_path):
    _, sound, _ = clip.files(tmp_path)
    head = flame_like()
    head.save(tmp_path / "flame.npz")
    write_track(tmp_path / "flame_track.npz", make_track(head, 400))
    files = tmp_path / "flame_track.npz", sound, tmp_path / "flame.npz"
    learn_voice(*files, tmp_path / "v.npz", tmp_path / "v.json", PLAIN)
    assert "landmarks of the inner lips" in read_json(tmp_path / "v.json")["reason"]
    with pytest.raises(NoSpeech, match="holds no voice: the head model flame"):
        read_voice(tmp_path / "v.npz", head)


def test_a_voice_of_another_head_is_refused(clip, learned):
    with pytest.raises(UserError, match="learned for head procedural"):
        read_voice(learned[0], flame_like())
    other = replace(clip.head, version="0.0-other")
    with pytest.raises(UserError, match="learn the voice with the same head"):
        read_voice(learned[0], other)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("centers", np.zeros((5, 7), np.float32)),
        ("weights", np.zeros((3, 2), np.float32)),
        ("mean", np.full(30, np.nan, np.float32)),
        ("mean", np.full(33, 1e300)),
        ("closed", np.full(33, 3e38, np.float32)),
        ("gain", np.array("x")),
        ("levels", np.zeros((3, 40), np.int32)),
        ("format", np.int32(9)),
        ("speech", np.zeros(3, bool)),
    ],
)
def test_damaged_voices_end_in_one_line(clip, learned, tmp_path, name, value):
    arrays = read_npz(learned[0])
    write_npz(tmp_path / "bad.npz", **(arrays | {name: value}))
    with pytest.raises(UserError, match="bad.npz") as caught:
        read_voice(tmp_path / "bad.npz", clip.head)
    assert "\n" not in str(caught.value)


def test_a_truncated_voice_ends_in_one_line(clip, learned, tmp_path):
    (tmp_path / "cut.npz").write_bytes(learned[0].read_bytes()[:5000])
    with pytest.raises(UserError, match="cut.npz"):
        read_voice(tmp_path / "cut.npz", clip.head)


def test_codes_of_heads_without_names(tmp_path):
    """FLAME: all shapes are predicted, each shrunk by what the sound explains of it."""
    head = flame_like()
    track = make_track(head, 250)
    columns = MouthColumns.of(head)
    assert not columns.named
    assert len(columns.rows) == 100
    condition = track.codes(torch.float64).vector
    values = columns.values(condition)
    assert torch.allclose(columns.put(condition, values), condition, atol=1e-6)
    write_track(tmp_path / "t.npz", track)
    made = with_mouth(condition, values * 0, columns, head, track)
    # What is left of the face's own expression does not move the lips.
    left = made[:, :100].numpy()
    lips = head.expression_basis[head.regions["lips"]].reshape(-1, 100)
    moved, before = (np.abs(e @ lips.T).max() for e in (left, condition[:, :100].numpy() - 0.5))
    assert moved < 0.05 * before


def test_held_out_predictions_do_not_see_their_targets():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, 80)).astype(np.float32)
    targets = rng.normal(size=(400, 2))
    made, _ = RegressionTask(features, targets, 2).held_out((0.3,))
    assert abs(np.corrcoef(made[0][:, 0], targets[:, 0])[0, 1]) < 0.2
    fitted, _ = RegressionTask(features, targets, 2).fit(0.01).predict(features)
    assert np.corrcoef(fitted[:, 0], targets[:, 0])[0, 1] > 0.95


def test_the_kernel_is_one_for_equal_rows_and_symmetric():
    rows = np.random.default_rng(0).normal(size=(20, 80)).astype(np.float32)
    similar = kernel(rows, rows, 2)
    assert np.diag(similar) == pytest.approx(1, abs=1e-4)
    assert similar == pytest.approx(similar.T, abs=1e-5)


def test_share_of_closures():
    times = np.arange(100) / 25
    opening = np.where(np.arange(100) % 25 < 3, 0.0, 10.0) + np.linspace(0, 0.5, 100)
    spans = np.array([[1.05, 1.15], [2.5, 2.6]])
    assert closure_share(opening, opening, spans, times) == 0.5
    assert closure_share(opening, opening, spans[:0], times) is None


def test_the_built_in_sentence_is_said_once_and_scores_fill_any_length():
    assert " ".join(hello().names).count("m iy t eh m ax") == 1
    assert hello().names[-2:] == ("ax", "-")
    for seconds in np.arange(2.0, 15.0, 0.05):
        assert compose_speech(seconds).seconds == seconds


def test_the_report_is_json_without_nan(learned):
    assert json.loads(learned[0].with_name("voice.json").read_text())["gain"] >= 1
