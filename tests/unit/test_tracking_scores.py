"""Blendshape scores in the tracker: lids that shut, gaze, lips that touch."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.synthetic_tracks import (
    FLIP,
    blendshape_scores,
    detect,
    make_ground_truth,
    write_inputs,
)
from headsplat.heads.landmarks import EYELID_DISTANCE_PAIRS
from headsplat.rotations import axis_angle_from_matrix, matrix_from_6d, matrix_from_axis_angle
from headsplat.runtime.errors import UserError
from headsplat.synthetic.head.head import procedural_head
from headsplat.track import read_track
from headsplat.tracking.basis import LandmarkBasis
from headsplat.tracking.layout import Layout, State
from headsplat.tracking.observations import read_observations
from headsplat.tracking.run import track_head
from headsplat.tracking.scores import BLINK, JAW_OPEN, checked_scores, lips_touch, shut_lids
from headsplat.tracking.terms import Terms

FILES = ("landmarks.npz", "crop.json", "frames.tsv")


@pytest.fixture(scope="module")
def head():
    return procedural_head()


def track(folder, head, intrinsics):
    head.save(folder / "head.npz")
    files = [folder / name for name in ("head.npz", *FILES)]
    track_head(*files, folder / "track.npz", folder / "identity.npy", intrinsics=intrinsics)
    return read_track(folder / "track.npz")


@pytest.fixture(scope="module")
def turned(head, tmp_path_factory):
    """A clip that looks aside and blinks, whose detector leaves eyes ajar and sees little pitch.

    Returns the ground truth, the track of the landmarks, and that of landmarks and scores.
    """
    ground_truth = make_ground_truth(head, 90, seed=11)
    yaw = torch.zeros(90, 3, dtype=torch.float64)
    yaw[:, 1] = torch.linspace(-0.7, 0.7, 90, dtype=torch.float64)
    rotation = FLIP @ matrix_from_axis_angle(yaw).numpy()
    lids = np.tile([0.08] * 10 + [0.4, 0.9, 1.0, 0.7, 0.25], 6)
    ground_truth = replace(ground_truth, rotation=rotation, lids=np.stack([lids, lids], 1))
    eyes = ground_truth.eyes * np.array([0.3, 1.0, 1.0])
    seen = replace(ground_truth, lids=0.7 * ground_truth.lids, eyes=eyes)
    landmarks, crop = detect(head, seen, noise=0.7)
    solved = []
    for scores in (None, blendshape_scores(ground_truth)):
        folder = tmp_path_factory.mktemp("turned")
        write_inputs(folder, landmarks, crop, scores)
        focal = ground_truth.focal
        solved.append(track(folder, head, f"{focal},{focal},256,256"))
    return ground_truth, *solved


def test_blinks_of_turned_heads_shut(turned):
    ground_truth, alone, scored = turned
    shut = ground_truth.lids > 0.85
    assert alone.eyelids[shut].mean() < 0.8
    assert scored.eyelids[shut].mean() > 0.93
    errors = [np.abs(t.eyelids - ground_truth.lids) for t in (alone, scored)]
    assert errors[1].mean() < 0.8 * errors[0].mean()
    is_open = ground_truth.lids < 0.2
    assert errors[1][is_open].mean() < errors[0][is_open].mean() + 0.01


def test_the_gaze_follows_the_scores(turned):
    ground_truth, alone, scored = turned
    errors = []
    for solved in (alone, scored):
        eyes = torch.as_tensor(solved.eyes.reshape(-1, 2, 6)).double()
        found = axis_angle_from_matrix(matrix_from_6d(eyes)).numpy()
        open_eyes = ground_truth.lids < 0.3
        away = (found - ground_truth.eyes)[open_eyes][:, :2]
        errors.append(np.abs(away - np.median(away, axis=0)).mean(0))
    assert errors[1][0] < 0.8 * errors[0][0]
    assert errors[1][1] < 1.1 * errors[0][1]


def test_pose_does_not_suffer(turned):
    ground_truth, *solved = turned
    errors = []
    for one in solved:
        off = torch.as_tensor(one.R).double() @ torch.as_tensor(ground_truth.rotation).mT
        errors.append(float(axis_angle_from_matrix(off).norm(dim=-1).median()))
    assert errors[1] < 1.1 * errors[0] + 0.001


def test_frames_without_scores_change_nothing(head, tmp_path):
    landmarks, crop = detect(head, make_ground_truth(head, 12, seed=2))
    found = []
    for scores in (None, np.full((12, 52), np.nan, np.float32)):
        write_inputs(tmp_path, landmarks, crop, scores)
        found.append(track(tmp_path, head, "1400,1400,256,256"))
    for name in ("exp", "jaw", "eyes", "eyelids", "R", "t", "shape"):
        np.testing.assert_array_equal(getattr(found[0], name), getattr(found[1], name))


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.zeros((6, 51), np.float32), r"expected numbers \[6, 52\]"),
        (np.zeros((6, 52), np.int64), "blendshapes are int64"),
        (np.full((6, 52), 1.5, np.float32), "blendshapes outside"),
        (np.full((6, 52), -np.inf, np.float32), "blendshapes outside"),
        (np.where(np.arange(52) == 3, np.nan, 0.5) * np.ones((6, 1)), "blendshapes outside"),
    ],
)
def test_bad_scores_are_refused(scores, message):
    with pytest.raises(UserError, match=message):
        checked_scores(scores, np.ones(6, bool), Path("landmarks.npz"))


def eyes(rest, blink):
    """Points of open eyes 10 pixels high, with scores of which the last frame's is a blink."""
    points = np.zeros((9, 478, 2), np.float32)
    for side in EYELID_DISTANCE_PAIRS.values():
        points[:, [upper for upper, _ in side], 1] = -10
    scores = np.zeros((9, 52), np.float32)
    scores[:, list(BLINK.values())] = rest
    scores[-1, list(BLINK.values())] = blink
    return points, scores


@pytest.mark.parametrize(
    ("rest", "blink", "opening"),
    [(0.05, 0.6, 0.0), (0.05, 0.2, 10.0), (0.05, 0.375, 5.0), (0.4, 0.5, 10.0), (0.4, 0.8, 0.0)],
)
def test_lids_shut_as_far_as_the_score_says(rest, blink, opening):
    points, scores = eyes(rest, blink)
    moved = shut_lids(points, scores)
    for side in EYELID_DISTANCE_PAIRS.values():
        upper, lower = np.array(side).T
        gap = moved[:, lower, 1] - moved[:, upper, 1]
        np.testing.assert_allclose(gap[-1], opening, atol=1e-4)
        np.testing.assert_array_equal(gap[:-1], 10)
    scores[-1] = np.nan
    np.testing.assert_array_equal(shut_lids(points, scores), points)


def test_lips_touch_where_landmarks_and_scores_agree():
    points = np.zeros((4, 478, 2), np.float32)
    points[1, 14, 1] = points[1, 87, 1] = points[1, 317, 1] = 20
    scores = np.zeros((4, 52), np.float32)
    scores[2, JAW_OPEN] = 0.5
    scores[3] = np.nan
    assert lips_touch(points, scores, 100).tolist() == [1, 0, 0, 0]


def test_derivatives_are_finite_differences(head, tmp_path):
    rng = np.random.default_rng(0)
    correctives = (rng.normal(size=(len(head.template), 3, 36)) * 1e-3).astype(np.float32)
    head = replace(head, pose_basis=correctives)
    ground_truth = make_ground_truth(head, 4, seed=5)
    still = replace(ground_truth, exp=0 * ground_truth.exp, jaw=0 * ground_truth.jaw)
    write_inputs(tmp_path, *detect(head, still, noise=0, outliers=0), blendshape_scores(still))
    basis = LandmarkBasis(head)
    layout = Layout(len(basis.bounds), basis.identity_space.matrix.shape[1])
    terms = Terms(basis, layout, read_observations(*(tmp_path / name for name in FILES)))
    frames, size = torch.arange(4), layout.frame_size + layout.shared_size
    state = State(
        torch.zeros(4, layout.frame_size, dtype=torch.float64),
        torch.as_tensor(still.rotation),
        torch.as_tensor(rng.normal(size=layout.shared_size) * 0.2),
    )
    state.frame[:] = torch.as_tensor(rng.normal(size=state.frame.shape) * 0.1)
    terms.calibrate(state, frames)

    def rows(at):
        view = terms.projector.landmarks(at)
        pairs = terms.scores.residuals(at, view, frames)
        assert all((weight > 0).all() for _, weight in pairs)
        return torch.cat([value.flatten(1) for value, _ in pairs], 1)

    lips, looks = torch.zeros(4, 5, 2, size), torch.zeros(4, 2, 2, size)
    gains = torch.ones(4, 5).double(), torch.ones(4, 2).double()
    terms.scores.columns(lips, looks, terms.projector.landmarks(state), gains)
    exact = torch.cat([lips.flatten(1, 2), looks.flatten(1, 2)], 1).double()
    step = 1e-6
    for column in range(size):
        change = torch.zeros(size, dtype=torch.float64)
        change[column] = step
        frame, shared = change[: layout.frame_size].expand(4, -1), change[layout.frame_size :]
        ahead, behind = (rows(state.moved(layout, s * frame, s * shared)) for s in (1, -1))
        slope = (ahead - behind) / (2 * step)
        torch.testing.assert_close(exact[..., column], slope, rtol=1e-4, atol=1e-3)
