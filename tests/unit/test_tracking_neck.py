"""Neck rotation: exact split, slow trunk, and its place in files and exports."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.synthetic_tracks import detect, make_ground_truth, write_inputs
from headsplat.formats.flame import pose_from_rigid, rigid_from_pose
from headsplat.formats.importing.clip import make_track
from headsplat.formats.vhap.writer import flame_parameters
from headsplat.rotations import axis_angle_from_matrix, matrix_from_6d, matrix_from_axis_angle
from headsplat.runtime.errors import UserError
from headsplat.synthetic.head.head import procedural_head
from headsplat.track import read_track, write_track
from headsplat.tracking.neck import neck_rotations
from headsplat.tracking.run import track_head

from .foreign_flame import HEAD_VERTICES, flame_vertices, small_flame, track_vertices


def turns(vectors):
    return matrix_from_axis_angle(torch.as_tensor(vectors, dtype=torch.float64)).numpy()


def parts(head_R, linked, fps=25.0):
    """Trunk (N, 3, 3) and the neck's angle (N,) in radians."""
    neck = matrix_from_6d(torch.as_tensor(neck_rotations(head_R, linked, fps)))
    angle = axis_angle_from_matrix(neck).norm(dim=-1).numpy()
    return head_R @ neck.mT.numpy(), angle


def angles(matrices):
    return axis_angle_from_matrix(torch.as_tensor(matrices)).numpy()


@pytest.mark.parametrize(
    ("rate", "low", "high"), [(0.05, 0.0, 0.05), (0.25, 0.4, 0.6), (2, 0.95, 1.05)]
)
def test_the_neck_takes_fast_rotation(rate, low, high):
    time = np.arange(2000) / 25
    vectors = np.zeros((2000, 3))
    vectors[:, 1] = 0.2 * np.sin(2 * np.pi * rate * time)
    _, neck = parts(turns(vectors), np.ones(1999, bool))
    inner = slice(500, 1500)
    assert low <= neck[inner].max() / 0.2 <= high


def test_trunk_times_neck_is_the_head():
    vectors = np.random.default_rng(0).normal(size=(40, 3)) * 0.3
    head_R = turns(vectors)
    six = neck_rotations(head_R, np.ones(39, bool), 25.0)
    neck = matrix_from_6d(torch.as_tensor(six)).numpy()
    trunk = head_R @ neck.transpose(0, 2, 1)
    np.testing.assert_allclose(trunk @ neck, head_R, atol=1e-12)
    np.testing.assert_allclose(
        trunk @ trunk.transpose(0, 2, 1), np.eye(3)[None].repeat(40, 0), atol=1e-12
    )
    assert np.linalg.norm(np.diff(angles(trunk), n=2, axis=0)) < 0.05 * np.linalg.norm(
        np.diff(vectors, n=2, axis=0)
    )


def test_a_cut_turns_no_neck():
    vectors = np.zeros((30, 3))
    vectors[12:, 1] = 0.8
    linked = np.ones(29, bool)
    linked[11] = False
    assert parts(turns(vectors), linked)[1].max() < 1e-9
    # Unmarked it is a fast turn, and the neck's.
    assert parts(turns(vectors), np.ones(29, bool))[1].max() > 0.2


@pytest.mark.parametrize("count", [1, 2, 3])
def test_short_pieces_have_a_neck_too(count):
    vectors = np.random.default_rng(1).normal(size=(count, 3)) * 0.2
    assert np.isfinite(neck_rotations(turns(vectors), np.ones(count - 1, bool), 25.0)).all()


def test_pose_from_rigid_inverts_rigid_from_pose():
    rng = np.random.default_rng(2)
    turn, nod, t, root, neck = (rng.normal(size=(6, 3)) * 0.3 for _ in range(5))
    found = pose_from_rigid(*rigid_from_pose(turn, nod, t, root, neck), root, neck, nod)
    np.testing.assert_allclose(found[0], turn, atol=1e-12)
    np.testing.assert_allclose(found[1], t, atol=1e-12)


def flame_track(head):
    rng = np.random.default_rng(3)
    count = 5
    R = np.diag([1.0, -1, -1]) @ turns(rng.normal(size=(count, 3)) * 0.2)
    still = np.tile([1.0, 0, 0, 0, 1, 0], (count, 1))
    t = np.array([0.0, 0, 1]) + rng.normal(size=(count, 3)) * 0.03
    K = np.array([[120.0, 0, 24], [0, 120, 24], [0, 0, 1]])
    return make_track(
        head, np.arange(1, count + 1), rng.normal(size=300) * 0.05,
        rng.normal(size=(count, 100)) * 0.1, still, np.tile(still, 2), rng.random((count, 2)),
        R, t, K, (48, 48),
    )  # fmt: skip


def test_vhap_carries_the_neck_and_the_face_stays():
    head = small_flame()
    track = flame_track(head)
    track = replace(track, neck=neck_rotations(track.head_R, np.ones(4, bool), 25.0))
    rows = np.arange(5)
    parameters = flame_parameters(track, head, rows)
    assert max(np.abs(values["neck_pose"]).max() for values in parameters) > 0.05
    for row, values in zip(rows, parameters, strict=True):
        pose = [values[k][0] for k in ("rotation", "neck_pose", "jaw_pose", "eyes_pose")]
        world = flame_vertices(
            head, values["shape"], values["expr"][0], np.concatenate(pose), values["translation"]
        )
        ours = track_vertices(head, track, row, HEAD_VERTICES) @ track.head_R[row].T
        np.testing.assert_allclose(world, ours + track.head_t[row], atol=1e-6)


def test_the_track_has_a_neck_only_if_requested(tmp_path):
    head = procedural_head()
    head.save(tmp_path / "head.npz")
    ground_truth = make_ground_truth(head, 12, seed=2)
    write_inputs(tmp_path, *detect(head, ground_truth))
    paths = [tmp_path / n for n in ("head.npz", "landmarks.npz", "crop.json", "frames.tsv")]
    tracks = []
    for name, neck in (("without", False), ("with", True)):
        track_head(*paths, tmp_path / f"{name}.npz", tmp_path / "identity.npy", neck=neck)
        tracks.append(read_track(tmp_path / f"{name}.npz"))
    without, track = tracks
    assert without.neck is None
    assert track.neck.shape == (12, 6)
    np.testing.assert_array_equal(track.head_R, without.head_R)
    with pytest.raises(UserError, match=r"'neck' has shape \[12, 3\], expected \[12, 6\]"):
        write_track(tmp_path / "bad.npz", replace(track, neck=track.neck[:, :3]))
