"""Audio2Face-3D's folder as a voice: windows, geometry, solve, ARKit's conventions, refusals."""

import numpy as np
import onnx
import pytest
import torch
from scipy.optimize import minimize

from headsplat.drive.kinds import ABSOLUTE, RELATIVE, STILL, MotionOptions
from headsplat.drive.neutral import neutral_face
from headsplat.formats.arkit.names import BLENDSHAPES, JAW_OPEN
from headsplat.frame_code import FrameCode
from headsplat.rotations import axis_angle_from_matrix, matrix_from_6d
from headsplat.runtime.errors import UserError
from headsplat.speech.audio2face.folder import read_actor
from headsplat.speech.audio2face.solve import Solver, bounded, smoothed
from headsplat.speech.audio2face.voice import Options, as_table, skin_coefficients, speak
from headsplat.speech.voices import VOICES, SpeechOptions
from tests.unit.actor_folder import POSES, SKIN, arrays, write_actor, write_network
from tests.unit.driven import arkit_like, flame_like, make_driven_subject, make_track

HEAD = arkit_like()
TRACK = make_track(HEAD)
SUBJECT = make_driven_subject(HEAD, TRACK)
SOUND = np.random.default_rng(1).normal(size=8000).astype(np.float32) * 0.1
JAW, CLOSE = POSES.index("jawOpen"), POSES.index("mouthClose")


def options(folder, blinks=False, face=ABSOLUTE, head_motion=RELATIVE, **own) -> SpeechOptions:
    return SpeechOptions(
        {"audio2face": folder}, MotionOptions(head_motion, blinks, face), device="cpu", own=own
    )


def weights(folder, skin) -> np.ndarray:
    return Solver(read_actor(folder)).weights(np.asarray(skin, np.float32))


def test_a_shapes_own_delta_is_that_shape_and_nothing_is_nothing(tmp_path):
    folder = write_actor(tmp_path / "actor")
    found = weights(folder, [[1, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0.3, 0, 0.6, 0, 0]])
    expected = np.zeros((3, 52))
    expected[0, JAW], expected[2, JAW], expected[2, JAW + 2] = 1, 0.3, 0.6
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_jaw_of_the_avatar_opens(tmp_path):
    folder = write_actor(tmp_path / "actor", coefficient=(1.0, 0, 0, 0, 0))
    assert VOICES["audio2face"].load() is speak
    motion = speak(SOUND, SUBJECT, TRACK, options(folder))
    np.testing.assert_allclose(motion.times, np.arange(12) / 25)
    jaw = axis_angle_from_matrix(matrix_from_6d(FrameCode(motion.condition).jaw))
    np.testing.assert_allclose(jaw, np.tile([JAW_OPEN, 0, 0], (12, 1)), atol=1e-5)
    assert not FrameCode(motion.condition).eyelids.any()
    assert (motion.rotation.diff(dim=0).abs().amax((1, 2)) > 1e-5).all()
    silence = np.zeros(160_000, np.float32)
    still = speak(silence, SUBJECT, TRACK, options(folder, blinks=True, head_motion=STILL))
    assert FrameCode(still.condition).eyelids.max() > 0.9
    torch.testing.assert_close(still.rotation, SUBJECT.limits.rotation.expand(250, 3, 3))


def test_coefficients_are_relative_to_the_subjects_neutral_face(tmp_path):
    neutral = FrameCode(neutral_face(SUBJECT.clip))
    silent = speak(SOUND, SUBJECT, TRACK, options(write_actor(tmp_path / "a"), face=RELATIVE))
    exp = FrameCode(silent.condition).exp
    torch.testing.assert_close(exp, neutral.exp.expand_as(exp))
    wide = write_actor(tmp_path / "b", coefficient=(1.0, 0, 0, 0, 0))
    jaw = matrix_from_6d(
        FrameCode(speak(SOUND, SUBJECT, TRACK, options(wide, face=RELATIVE)).condition).jaw
    )
    turn = axis_angle_from_matrix(jaw @ matrix_from_6d(neutral.jaw).T)
    np.testing.assert_allclose(turn, np.tile([JAW_OPEN, 0, 0], (12, 1)), atol=1e-5)


def test_a_closed_mouth_opens_the_jaw_by_its_part():
    values = np.zeros((1, 52))
    values[0, JAW], values[0, CLOSE] = 0.2, 0.5
    names = tuple(sorted(BLENDSHAPES))
    table = as_table(names, values).values
    assert (table["JawOpen"][0], table["MouthClose"][0]) == (0.7, 0.5)
    values[0, JAW] = 0.8
    assert as_table(names, values).values["JawOpen"][0] == 1
    assert set(as_table(names[:20], values[:, :20]).values) == set(BLENDSHAPES)


def test_windows_are_centered_on_the_frames(tmp_path):
    actor = read_actor(write_actor(tmp_path / "actor", gain=1.0))
    found = skin_coefficients(actor, SOUND, Options(), None)
    assert found.shape == (15, SKIN)
    at = np.round(np.arange(15) * 16000 / 30).astype(int)
    np.testing.assert_allclose(found[:, 0], 1.3 * SOUND[at], rtol=1e-4)
    short = skin_coefficients(actor, SOUND[:3], Options(), None)
    np.testing.assert_allclose(short[:, 0], 1.3 * SOUND[:1], rtol=1e-4)
    long = skin_coefficients(actor, np.tile(SOUND, 6), Options(), None)
    np.testing.assert_allclose(long[15:30], found, rtol=1e-4)


def test_emotions(tmp_path):
    actor = read_actor(write_actor(tmp_path / "actor"))
    np.testing.assert_array_equal(actor.network.emotion, [16, 17, 18, 19, 0, 0])
    joy = skin_coefficients(actor, SOUND, Options("joy", 0.5), None)
    np.testing.assert_allclose(joy[:, 1], 0.5)
    with pytest.raises(UserError, match="emotion 'joi': the actor has neutral, amazement, joy"):
        skin_coefficients(actor, SOUND, Options("joi"), None)


def test_strengths_offsets_and_the_mask_of_the_lower_face(tmp_path):
    def change(contents):
        contents["model_config.json"]["config"] |= {
            "upper_face_strength": 0.5, "lower_face_strength": 2.0, "skin_strength": 1.5,
            "lip_open_offset": 0.25, "eyelid_open_offset": 0.5,
        }  # fmt: skip
        rng = np.random.default_rng(7)
        for name in ("lip_open_pose_delta", "eye_close_pose_delta"):
            contents["model_data.npz"][name] = rng.normal(size=(60, 3)).astype(np.float32)
        contents["model_data.npz"]["shapes_mean_skin"] = (
            contents["bs_skin.npz"]["neutral"] + rng.normal(size=(60, 3)).astype(np.float32) * 0.01
        )
        contents["bs_skin_config.json"]["blendshape_params"]["strengthL2regularization"] = 0.01

    folder = write_actor(tmp_path / "actor", change)
    shapes = arrays()["bs_skin.npz"]
    contents = {"model_config.json": {"config": {}}, "bs_skin_config.json": {}} | arrays()
    contents["bs_skin_config.json"]["blendshape_params"] = {}
    change(contents)
    data = {k: v.astype(float) for k, v in contents["model_data.npz"].items()}
    r = np.array([0.4, 0.2, 0, 0.1, 0])
    mean = data["shapes_mean_skin"]
    moved = 1.5 * np.tensordot(r, data["shapes_matrix_skin"], 1)
    moved = moved - 0.5 * data["eye_close_pose_delta"] + 0.25 * data["lip_open_pose_delta"]
    height = (mean[:, 1] - mean[:, 1].min()) / np.ptp(mean[:, 1])
    lower = (1 / (1 + np.exp(-(0.6 - height) / 0.0085)))[:, None]
    geometry = mean + 0.5 * (1 - lower) * moved + 2 * lower * moved
    rows = shapes["frontalMask"]
    D = np.stack([shapes[name][rows].reshape(-1).astype(float) for name in POSES])
    target = D @ (geometry - shapes["neutral"])[rows].reshape(-1)
    s = (np.linalg.norm(np.ptp(shapes["neutral"].astype(float), axis=0)) / 54.7) ** 2
    A = D @ D.T + 0.1 * s * np.eye(52)
    best = minimize(
        lambda x: x @ A @ x / 2 - target @ x, np.full(52, 0.5), jac=lambda x: A @ x - target,
        bounds=[(0, 1)] * 52, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-9},
    ).x  # fmt: skip
    np.testing.assert_allclose(weights(folder, [r])[0], best, atol=1e-4)


def test_symmetric_canceling_and_temporal_terms(tmp_path):
    left, right = POSES.index("mouthLeft"), POSES.index("mouthRight")

    def change(contents, **strengths):
        own = contents["bs_skin_config.json"]["blendshape_params"]
        own |= strengths

    groups = [-1] * 52
    groups[JAW], groups[JAW + 1] = 3, 3
    skin = [[0.9, 0.1, 0, 0, 0]]
    folder = write_actor(
        tmp_path / "a", lambda c: change(c, bsSolveSymmetryPoses=groups, strengthSymmetry=1e4)
    )
    pair = weights(folder, skin)[0, [JAW, JAW + 1]]
    assert abs(pair[0] - pair[1]) < 0.01 < pair.min()
    folder = write_actor(tmp_path / "b", lambda c: change(c, bsSolveCancelPoses=groups))
    pair = weights(folder, skin)[0, [JAW, JAW + 1]]
    assert pair[0] > 0.5
    assert pair[1] == 0
    folder = write_actor(tmp_path / "c", lambda c: change(c, strengthTemporalSmoothing=1.0))
    steps = weights(folder, [[1, 0, 0, 0, 0]] * 4)[:, JAW]
    assert 0 < steps[0] < 1
    assert (np.diff(steps) >= 0).all()
    active = [1] * 52
    active[left] = active[right] = 0
    folder = write_actor(
        tmp_path / "d",
        lambda c: change(c, bsSolveActivePoses=active, bsWeightMultipliers=[2.0] * 52,
                         bsWeightOffsets=[0.125] * 52),
    )  # fmt: skip
    found = weights(folder, [[0.25, 0, 0, 0, 0]])[0]
    np.testing.assert_allclose(found[[JAW, left]], [0.625, 0.125], atol=1e-5)


def test_the_bounded_minimum_is_exact():
    rng = np.random.default_rng(4)
    for trial in range(30):
        root = rng.normal(size=(12, 8 if trial % 3 else 20))
        A, b = root @ root.T + 1e-3 * np.eye(12), rng.normal(size=12) * 3
        high = np.where(rng.random(12) < 0.2, 0.0, 1.0)
        x = bounded(A, b, high, rng.random(12) * high)
        slope = A @ x - b
        assert (x >= 0).all()
        assert (x <= high).all()
        inside = (x > 0) & (x < high)
        assert np.abs(slope[inside]).max(initial=0) < 1e-6
        assert slope[(x == 0) & (high > 0)].min(initial=0) > -1e-6
        assert slope[(x == high) & (high > 0)].max(initial=0) < 1e-6


def test_smoothing_is_two_filters_of_the_half_life():
    step = np.concatenate([np.zeros((1, 1)), np.ones((60, 1))])
    found = smoothed(step, 0.1)[:, 0]
    share = 1 - 0.5 ** (1 / 3)
    assert found[1] == pytest.approx(share**2)
    assert found[2] == pytest.approx(share**2 + share * (1 - share) * share * 2)
    assert (np.diff(found) > 0).all()
    np.testing.assert_array_equal(smoothed(step, 0.0), step)


def edit(file, *keys, value):
    def change(contents):
        table = contents[file]
        for key in keys[:-1]:
            table = table[key]
        if value is None:
            table.pop(keys[-1])
        else:
            table[keys[-1]] = value

    return change


INFO, BS = "network_info.json", "bs_skin.npz"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (edit(INFO, "id", "type", value="diffusion"), "type diffusion, expected the regression"),
        (edit(INFO, "params", "num_shapes_skin", value=6), r"shapes_matrix_skin.*expected .*\[6"),
        (edit(INFO, "params", "num_shapes_skin", value=1 << 60), "expected 1 to 4096"),
        (edit(INFO, "params", "implicit_emo_len", value=5), "'emo_db' is float32 of shape"),
        (edit(INFO, "params", "default_emotion", value=[0]), "'default_emotion' is no list of 2"),
        (edit(INFO, "audio_params", "samplerate", value=8000), "8000, expected 16000"),
        (edit(INFO, "audio_params", value=None), "network_info.json: has no table 'audio_params'"),
        (edit("model_config.json", "config", "skin_strength", value="a"), "'skin_strength' is 'a'"),
        (edit("model_config.json", "config", "source_shot", value="x"), "has no emotion 'x'"),
        (edit("model_config.json", "config", "source_frame", value=99), "leads to 102"),
        (edit("model_config.json", "config", "face_mask_softness", value=0), "is not above 0"),
        (edit(BS, "jawOpen", value=None), "the array 'jawOpen' is missing"),
        (edit(BS, "jawOpen", value=np.zeros((9, 3), np.float32)), r"'jawOpen' .* \[9, 3\]"),
        (edit(BS, "jawOpen", value=np.full((60, 3), np.nan)), "'jawOpen' is not finite"),
        (edit(BS, "frontalMask", value=np.array([60])), "'frontalMask' does not name vertices"),
        (edit(BS, "poseNames", value=np.array(["neutral", "smirk"])), "'smirk' is none"),
        (edit("model_data.npz", "shapes_mean_skin", value=None), "'shapes_mean_skin' is missing"),
        (edit("bs_skin_config.json", "blendshape_params", "numPoses", value=3), "expected 52"),
        (edit("bs_skin_config.json", "blendshape_params", "strengthSymmetry", value=-1), "too low"),
        (edit("bs_skin_config.json", "blendshape_params", "templateBBSize", value=1e-300), "low"),
    ],
)  # fmt: skip
def test_other_folders_are_one_line(tmp_path, change, expected):
    folder = write_actor(tmp_path / "actor", change)
    with pytest.raises(UserError, match=expected) as caught:
        read_actor(folder)
    assert str(caught.value).isprintable()


def test_other_networks_are_one_line(tmp_path):
    folder = write_actor(tmp_path / "actor")
    actor = read_actor(folder)
    for changed, expected in (
        ({"buffer": 300}, r"network\.onnx: 'input' has shape \['batch', 1, 300\], not"),
        ({"name": "prediction"}, "outputs are named prediction and lack 'result'"),
    ):
        write_network(folder / "network.onnx", **changed)
        with pytest.raises(UserError, match=expected):
            skin_coefficients(actor, SOUND, Options(), None)
    (folder / "network.onnx").write_bytes(b"x")
    with pytest.raises(UserError, match=r"network\.onnx: ONNX Runtime cannot open it"):
        skin_coefficients(actor, SOUND, Options(), None)
    (folder / "bs_skin.npz").write_bytes(b"x")
    with pytest.raises(UserError, match=r"bs_skin\.npz: cannot be read as \.npz"):
        read_actor(folder)
    with pytest.raises(UserError, match=r"model_config\.json: "):
        read_actor(tmp_path)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ([7, 13, 3], "ONNX Runtime cannot run it"),
        ([-1, 1, 10], r"its result has shape \[.*, 1, 10\]"),
    ],
)
def test_networks_that_break_their_signature_are_one_line(tmp_path, shape, expected):
    actor = read_actor(write_actor(tmp_path / "actor"))
    model = onnx.load(actor.path / "network.onnx")
    # The shape depends on the input, so that ONNX Runtime learns it only when it runs.
    nodes = [
        onnx.helper.make_node("ReduceSum", ["input"], ["sum"], keepdims=0),
        onnx.helper.make_node("Mul", ["sum", "none"], ["zero"]),
        onnx.helper.make_node("Cast", ["zero"], ["whole"], to=onnx.TensorProto.INT64),
        onnx.helper.make_node("Add", ["wanted", "whole"], ["shape"]),
        onnx.helper.make_node("Reshape", ["input", "shape"], ["result"]),
    ]
    given = {"wanted": np.array(shape), "none": np.float32(0)}
    initial = [onnx.numpy_helper.from_array(np.array(v), n) for n, v in given.items()]
    output = onnx.helper.make_tensor_value_info("result", 1, ["a", "b", "c"])
    graph = onnx.helper.make_graph(nodes, "actor", model.graph.input, [output], initial)
    model.graph.CopyFrom(graph)
    onnx.save(model, actor.path / "network.onnx")
    with pytest.raises(UserError, match=expected) as caught:
        skin_coefficients(actor, SOUND, Options(), None)
    assert str(caught.value).isprintable()


def test_other_heads_and_no_sound_are_one_line(tmp_path):
    folder, head = write_actor(tmp_path / "actor"), flame_like()
    with pytest.raises(UserError, match="^the avatar's head flame has no expression shapes"):
        speak(SOUND, make_driven_subject(head, make_track(head)), TRACK, options(folder))
    with pytest.raises(UserError, match="the sound has no samples"):
        speak(SOUND[:0], SUBJECT, TRACK, options(folder))
