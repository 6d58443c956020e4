"""LAM-A2E as a voice, and its json as a motion: layout, post-processing, refusals."""

import json

import numpy as np
import pytest
import torch
from torch.nn import functional

import headsplat
from benchmarks.speech_weights import BASE, SMALL, expanded, lam_shapes, random_state
from headsplat.drive.arkit_motion import read_arkit
from headsplat.drive.kinds import ABSOLUTE, KINDS, MotionOptions
from headsplat.formats.arkit.lam_table import read_lam_table
from headsplat.frame_code import FrameCode
from headsplat.networks.wav2vec import Sizes
from headsplat.runtime.errors import UserError
from headsplat.speech import lam
from headsplat.speech.lam import NAMES, build_lam, damped_in_silence, load_lam, loudness, smoothed
from headsplat.speech.voices import VOICES, SpeechOptions
from headsplat.synthetic.score import write_wav
from headsplat.video.sound import read_sound
from tests.unit.driven import (
    ARKIT_SHAPES,
    arkit_like,
    flame_like,
    make_driven_subject,
    make_subject,
    make_track,
)

HEAD = arkit_like()
TRACK = make_track(HEAD)
SUBJECT = make_driven_subject(HEAD, TRACK)
SOUND = np.random.default_rng(1).normal(size=16_100).astype(np.float32) * 0.1
PREFIX = "module.backbone."
OFFICIAL = [name[0].lower() + name[1:] for name in NAMES]


def bare(state) -> dict:
    return {key.removeprefix(PREFIX): value for key, value in state.items()}


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(lam, "ENCODER", Sizes(heads=2, **SMALL))
    return random_state(lam_shapes(SMALL))


@pytest.mark.parametrize("spelling", ["old", "new"])
def test_the_official_layout_loads(spelling):
    shapes = lam_shapes(BASE, spelling)
    assert len(shapes) == 247
    build_lam(bare(expanded(shapes)), "lam.tar")


def test_the_names_are_alphabetical():
    assert OFFICIAL[:3] == ["browDownLeft", "browDownRight", "browInnerUp"]
    assert OFFICIAL[24:27] == ["jawOpen", "jawRight", "mouthClose"]
    assert (OFFICIAL[8], OFFICIAL[-1], len(set(OFFICIAL))) == ("eyeBlinkLeft", "tongueOut", 52)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda s: s.pop(f"{PREFIX}output_proj.bias"), "'output_proj.bias' is missing"),
        (lambda s: s.update({f"{PREFIX}extra": torch.zeros(1)}), "'extra' is not one of"),
        (lambda s: s.update({f"{PREFIX}output_proj.bias": torch.zeros(51)}), r"shape \[51\], not"),
    ],
)
def test_other_files_are_one_line(tmp_path, small, change, expected):
    path = tmp_path / "lam.tar"
    lm_head = {f"{PREFIX}audio_encoder.lm_head.weight": torch.zeros(32, 1024)}
    torch.save({"state_dict": small | lm_head, "epoch": 3}, path)
    load_lam(path)
    change(small)
    torch.save({"state_dict": small}, path)
    with pytest.raises(UserError, match=rf"lam\.tar: .*{expected}"):
        load_lam(path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"lam\.tar: not a complete torch archive"):
        load_lam(path)
    torch.save({"model": small}, path)
    with pytest.raises(UserError, match=r"lam\.tar: the key 'state_dict' is missing"):
        load_lam(path)


def plain_head(state, hidden) -> torch.Tensor:
    """(T, 16) of the encoder -> (T, 52), written layer by layer in float64."""
    w = {key: value.double() for key, value in bare(state).items()}

    def convolution(name, x):
        return functional.conv1d(x, w[f"{name}.weight"], w[f"{name}.bias"], padding=1)

    def block(name, x, residual):
        y = convolution(f"{name}.conv", x).transpose(1, 2)
        y = functional.layer_norm(y, (512,), w[f"{name}.norm.weight"], w[f"{name}.norm.bias"])
        return torch.relu(y.transpose(1, 2) + residual)

    x = functional.linear(hidden.double(), w["feature_projection.weight"],
                          w["feature_projection.bias"])  # fmt: skip
    person = w["identity_encoder.id_mlp.weight"][:, 0, 0] + w["identity_encoder.id_mlp.bias"]
    x = torch.cat([x, person.expand(len(x), -1)], 1).T[None]
    first = "identity_encoder.first_net.conv_layers"
    x = block(f"{first}.0", x, convolution(f"{first}.0.residual_layer.0", x))
    for k in (1, 2):
        x = block(f"{first}.{k}", x, x)
    for k in range(3):
        x = block(f"decoder.0.{k}", x, 0)
    x = functional.linear(x[0].T, w["output_proj.weight"], w["output_proj.bias"])
    return torch.sigmoid(x)


def test_the_network_equals_its_formulas(small):
    network = build_lam(bare(small), "lam.tar")
    sound = torch.from_numpy(SOUND)
    found = network(sound)
    features = network.audio_encoder.features(sound[None])[0]
    count = int(np.ceil(len(SOUND) / 16_000 * 30))
    place = np.linspace(0, len(features) - 1, count)
    moved = np.stack([np.interp(place, np.arange(len(features)), c) for c in features.T.numpy()], 1)
    hidden = network.audio_encoder.encode(torch.from_numpy(moved).float()[None])[0]
    assert found.shape == (31, 52)
    torch.testing.assert_close(found.double(), plain_head(small, hidden), atol=1e-5, rtol=0)
    with pytest.raises(UserError, match="the sound has 399 samples, LAM-A2E needs 400"):
        network(sound[:399])


def test_it_speaks(tmp_path, small):
    torch.save({"state_dict": small}, tmp_path / "lam.tar")
    assert VOICES["lam"].load() is lam.speak

    def speak(head=HEAD):
        options = SpeechOptions(
            {"lam": tmp_path / "lam.tar"}, MotionOptions(face=ABSOLUTE), device="cpu"
        )
        subject = make_driven_subject(head, make_track(head))
        return lam.speak(SOUND, subject, TRACK, options)

    motion = speak()
    np.testing.assert_allclose(motion.times, np.arange(26) / 25)
    raw = build_lam(bare(small), "x")(torch.from_numpy(SOUND)).double().numpy()
    expected = smoothed(damped_in_silence(raw, SOUND))
    smile = motion.condition[:, ARKIT_SHAPES.index("mouthSmile_L")]
    expected = np.interp(
        motion.times, np.arange(31) / 30, expected[:, NAMES.index("MouthSmileLeft")]
    )
    np.testing.assert_allclose(smile, expected, atol=1e-6)
    with pytest.raises(UserError, match="^the avatar's head flame has no expression shapes"):
        speak(flame_like())


def test_an_avatar_is_driven_by_it(tmp_path, small):
    torch.save({"state_dict": small}, tmp_path / "lam.tar")
    write_wav(tmp_path / "a.wav", SOUND, 16_000)
    make_subject(
        tmp_path / "doll/avatar/model", tmp_path / "head.npz", tmp_path / "track.npz", HEAD
    )
    headsplat.drive_avatar(
        tmp_path / "doll", tmp_path / "a.wav", tmp_path / "a.mp4", "speech", voice="lam",
        voice_file=tmp_path / "lam.tar",
    )  # fmt: skip
    samples, rate = read_sound(tmp_path / "a.mp4")
    # The codec's blocks last 64 ms at this rate.
    assert len(samples) / rate == pytest.approx(26 / 25, abs=0.064)
    assert np.abs(samples).max() > 0.05


def test_silence_stills_the_mouth_alone():
    sound = np.concatenate([SOUND, np.zeros(16_000, np.float32), SOUND])
    values = np.full((92, 52), 0.5)
    found = damped_in_silence(values, sound)
    jaw, brow = found[:, NAMES.index("JawOpen")], found[:, NAMES.index("BrowInnerUp")]
    assert (brow == 0.5).all()
    assert (found[:, NAMES.index("MouthClose")] == 0.5).all()
    np.testing.assert_allclose(jaw[38:54], 0.05)
    assert (jaw[:30] == 0.5).all()
    assert (jaw[62:] == 0.5).all()
    assert np.abs(np.diff(jaw)).max() < 0.16
    assert (damped_in_silence(values, np.zeros_like(sound))[:, NAMES.index("JawOpen")] < 0.06).all()
    np.testing.assert_allclose(loudness(np.full(16_000, 0.5, np.float32), 30)[1:-1], 0.5, rtol=0.01)


def test_smoothing_keeps_parabolas():
    t = np.arange(20.0)[:, None]
    parabola = 0.1 + 0.002 * (t - 8) ** 2
    np.testing.assert_allclose(smoothed(parabola)[2:-2], parabola[2:-2], atol=1e-12)
    spike = np.zeros((20, 1))
    spike[10] = 2
    assert 0 <= smoothed(spike).min() <= smoothed(spike).max() <= 1
    assert (smoothed(spike[:4]) == spike[:4]).all()


def lam_json(frames=90, fps=30.0, **columns) -> dict:
    weights = np.zeros((frames, 52))
    for name, value in columns.items():
        weights[:, OFFICIAL.index(name)] = value
    return {
        "names": OFFICIAL,
        "metadata": {"fps": fps, "frame_count": frames, "blendshape_names": OFFICIAL},
        "frames": [
            {"weights": row, "time": k / fps, "rotation": []}
            for k, row in enumerate(weights.tolist())
        ],
    }


def write_json(path, content):
    path.write_text(json.dumps(content, indent=2))
    return path


def test_its_json_is_a_motion_of_kind_arkit(tmp_path):
    assert ".json" in KINDS["arkit"].suffixes
    path = write_json(tmp_path / "bs.json", lam_json(mouthSmileLeft=0.25, eyeBlinkLeft=1))
    motion = read_arkit(path, SUBJECT, MotionOptions(ABSOLUTE, face=ABSOLUTE))
    np.testing.assert_allclose(motion.times, np.arange(90) / 30)
    assert (motion.condition[:, ARKIT_SHAPES.index("mouthSmile_L")] == 0.25).all()
    assert (FrameCode(motion.condition).eyelids == torch.tensor([1.0, 0.0])).all()


def change(*keys, value):
    def apply(content):
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return apply


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (change("names", value=OFFICIAL[1:]), "'BrowDownLeft' is missing"),
        (change("names", value=[*OFFICIAL[:-1], "smirk"]), "'smirk' is unknown or occurs twice"),
        (change("names", value=[*OFFICIAL[:-1], "jawOpen"]), "'jawOpen' is unknown or occurs"),
        (change("names", value=[""]), "'names' is no list of names"),
        (change("metadata", value=3), "has no 'names', 'metadata' and 'frames'"),
        (change("metadata", "fps", value=0), "'fps' is 0, expected 1 to 240"),
        (change("metadata", "fps", value="30"), "'fps' is '30', expected"),
        (change("frames", value=[]), "has no frames"),
        (change("frames", value=[0] * 240_001), "has 240001 frames, 240000 are the most"),
        (change("frames", 2, value=7), "frame 2: 'weights' are not 52 numbers"),
        (change("frames", 2, "weights", value=[0] * 51), "frame 2: 'weights' are not 52"),
        (change("frames", 2, "weights", 5, value=None), "frame 2: a weight is None, no number"),
        (change("frames", 2, "weights", 5, value=10**400), "reaches 9e.09, expected coefficients"),
        (change("frames", 2, "weights", 5, value=55), "'CheekPuff' reaches 55, expected coeff"),
    ],
)
def test_other_json_is_one_line(tmp_path, edit, expected):
    content = lam_json(4)
    edit(content)
    path = write_json(tmp_path / "bs.json", content)
    with pytest.raises(UserError, match=rf"bs\.json.*{expected}") as caught:
        read_lam_table(path)
    assert str(caught.value).isprintable()


def test_no_json_is_one_line(tmp_path):
    (tmp_path / "bs.json").write_text("[1")
    with pytest.raises(UserError, match=r"bs\.json: cannot be read as JSON"):
        read_lam_table(tmp_path / "bs.json")
    with pytest.raises(UserError, match=r"bs\.json: has no 'names'"):
        read_lam_table(write_json(tmp_path / "bs.json", [1]))
