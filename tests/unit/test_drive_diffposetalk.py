"""DiffPoseTalk files as motions: formulas and refusals."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from headsplat.drive.blinks import blinks
from headsplat.drive.diffposetalk import read_diffposetalk
from headsplat.drive.kinds import ABSOLUTE, RELATIVE, STILL, MotionOptions
from headsplat.rotations import mean_rotation
from headsplat.runtime.errors import UserError
from tests.unit.driven import flame_like, make_driven_subject, make_track

FRAMES = 30
HEAD = flame_like()
TRACK = replace(make_track(HEAD), shape=np.random.default_rng(9).normal(size=300))
SUBJECT = make_driven_subject(HEAD, TRACK)


def speech(head: bool = True) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    pose = np.zeros((FRAMES, 6), np.float32)
    pose[:, 3] = np.abs(rng.normal(size=FRAMES)) * 0.1
    if head:
        pose[:, :3] = rng.uniform(-0.15, 0.15, (FRAMES, 3)) + (0.1, 0, 0)
    return {
        "exp": rng.normal(size=(FRAMES, 50)).astype(np.float32),
        "pose": pose,
        "shape": rng.normal(size=(FRAMES, 100)).astype(np.float32),
    }


def read(folder, arrays, head_motion=ABSOLUTE, with_blinks=False, subject=SUBJECT):
    np.savez(folder / "speech.npz", **arrays)
    return read_diffposetalk(
        folder / "speech.npz", subject, MotionOptions(head_motion, with_blinks)
    )


def rodrigues(vector) -> np.ndarray:
    angle = np.linalg.norm(vector)
    if angle == 0:
        return np.eye(3)
    x, y, z = vector / angle
    K = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * K + (1 - np.cos(angle)) * K @ K


def root_joint(exp50: np.ndarray) -> np.ndarray:
    """J_0 of the avatar's own shape, straight from the model's arrays."""
    vertices = (
        HEAD.template.astype(float)
        + HEAD.shape_basis.astype(float) @ SUBJECT.shape.numpy()
        + HEAD.expression_basis[..., :50].astype(float) @ exp50
    )
    return HEAD.joint_regressor[0].astype(float) @ vertices


def test_codes_are_padded_and_joints_become_rows(tmp_path):
    arrays = speech()
    condition = read(tmp_path, arrays).condition.numpy()
    assert condition.shape == (FRAMES, 100 + 6 + 12 + 2)
    np.testing.assert_allclose(condition[:, :50], arrays["exp"])
    assert not condition[:, 50:100].any()
    angle = arrays["pose"][:, 3].astype(float)
    zero, one = np.zeros(FRAMES), np.ones(FRAMES)
    jaw = np.stack([one, zero, zero, zero, np.cos(angle), -np.sin(angle)], 1)
    np.testing.assert_allclose(condition[:, 100:106], jaw, atol=1e-9)
    np.testing.assert_array_equal(condition[:, 106:118], np.tile([1, 0, 0, 0, 1, 0], (FRAMES, 2)))
    assert not condition[:, 118:].any()


def test_25_fps_and_one_repetition(tmp_path):
    arrays = speech()
    motion = read(tmp_path, arrays)
    np.testing.assert_allclose(motion.times.numpy(), np.arange(FRAMES) / 25)
    repeated = read(tmp_path, {key: value[None] for key, value in arrays.items()})
    assert torch.equal(motion.condition, repeated.condition)


def test_head_motion_in_the_camera_equals_flames_global_rotation(tmp_path):
    arrays = speech()
    motion = read(tmp_path, arrays)
    base_R, base_t = SUBJECT.limits.rotation.numpy(), SUBJECT.limits.translation.numpy()
    points = HEAD.template.astype(float)
    for k in range(FRAMES):
        turn = rodrigues(arrays["pose"][k, :3].astype(float))
        joint = root_joint(arrays["exp"][k].astype(float))
        turned = (points - joint) @ turn.T + joint
        expected = turned @ base_R.T + base_t
        got = points @ motion.rotation[k].numpy().T + motion.translation[k].numpy()
        np.testing.assert_allclose(got, expected, atol=1e-9)


def test_relative_motion_is_about_the_clips_mean(tmp_path):
    arrays = speech()
    base = SUBJECT.limits.rotation
    turns = base.T @ read(tmp_path, arrays).rotation
    relative = read(tmp_path, arrays, RELATIVE).rotation
    torch.testing.assert_close(relative, base @ mean_rotation(turns).T @ turns)
    torch.testing.assert_close(mean_rotation(relative), base)


@pytest.mark.parametrize("head_motion", [RELATIVE, ABSOLUTE, STILL])
def test_zero_head_poses_keep_the_head_still(tmp_path, head_motion):
    motion = read(tmp_path, speech(head=False), head_motion)
    torch.testing.assert_close(motion.rotation, SUBJECT.limits.rotation.expand(FRAMES, 3, 3))
    torch.testing.assert_close(motion.translation, SUBJECT.limits.translation.expand(FRAMES, 3))


def test_still_heads_stay_still(tmp_path):
    motion = read(tmp_path, speech(), STILL)
    torch.testing.assert_close(motion.rotation, SUBJECT.limits.rotation.expand(FRAMES, 3, 3))


def test_blinks_close_the_lids(tmp_path):
    arrays = {key: np.tile(value, (4, 1)) for key, value in speech().items()}
    motion = read(tmp_path, arrays, with_blinks=True)
    assert torch.equal(motion.condition[:, -2:], blinks(motion.times))
    assert motion.condition[:, -2:].max() == 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"exp": None}, "'exp' is missing"),
        ({"pose": None}, "'pose' is missing"),
        ({"exp": np.zeros((FRAMES, 64))}, r"'exp' is float64 of shape \[30, 64\]"),
        ({"pose": np.zeros((FRAMES, 4))}, r"'pose' .* expected numbers of \[frames, 6\]"),
        ({"pose": np.zeros((FRAMES - 1, 6))}, "'exp' has 30 frames, 'pose' 29"),
        ({"exp": np.zeros((2, FRAMES, 50))}, r"'exp' is float64 of shape \[2, 30, 50\]"),
        ({"exp": np.full((FRAMES, 50), np.nan)}, "'exp' is not finite in row 0"),
        ({"exp": np.zeros((0, 50)), "pose": np.zeros((0, 6))}, "'exp' has no frames"),
        ({"exp": np.full((FRAMES, 50), "a")}, "'exp' is <U1"),
    ],
)
def test_bad_arrays_are_one_line(tmp_path, change, expected):
    arrays = {key: value for key, value in (speech() | change).items() if value is not None}
    with pytest.raises(UserError, match=r"speech\.npz.*" + expected):
        read(tmp_path, arrays)


def test_a_broken_file_is_one_line(tmp_path):
    np.savez(tmp_path / "whole.npz", **speech())
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:5000])
    with pytest.raises(UserError, match=r"cut\.npz: cannot be read"):
        read_diffposetalk(tmp_path / "cut.npz", SUBJECT, MotionOptions(ABSOLUTE, False))


@pytest.mark.parametrize("change", [{"name": "ict"}, {"version": "2023-0123abcd"}])
def test_another_head_is_one_line(tmp_path, change):
    head = replace(HEAD, **change)
    with pytest.raises(UserError, match="codes are those of FLAME 2020, the avatar's head is"):
        read(tmp_path, speech(), subject=replace(SUBJECT, head=head))
