"""Calibration of MediaPipe landmarks: geometry on small meshes, result on the ICT head."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from headsplat.detect.mediapipe_models import FaceModels
from headsplat.detect.tracker import find_face
from headsplat.heads.calibrate import POINTS, _consensus, calibrate
from headsplat.heads.calibration_views import render_views
from headsplat.heads.landmarks import points
from headsplat.heads.surface import closest_points
from headsplat.runtime.errors import UserError
from tests.unit import ict_head


def sphere(rows=12, columns=24):
    theta = np.linspace(0.05, np.pi - 0.05, rows)
    phi = np.linspace(0, 2 * np.pi, columns, endpoint=False)
    grid = np.stack(
        [np.outer(np.sin(theta), np.cos(phi)), np.outer(np.sin(theta), np.sin(phi)),
         np.outer(np.cos(theta), np.ones(columns))], -1,
    )  # fmt: skip
    ids = np.arange(rows * columns).reshape(rows, columns)
    a, b = ids[:-1], ids[1:]
    quads = np.stack([a, b, np.roll(b, -1, 1), np.roll(a, -1, 1)], -1).reshape(-1, 4)
    return grid.reshape(-1, 3), np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def test_closest_points_match_dense_sampling():
    vertices, faces = sphere()
    queries = np.random.default_rng(0).normal(size=(40, 3))
    queries = np.concatenate([queries, vertices[:5] * 1.3])
    rows, weights = closest_points(vertices, faces, queries)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-12)
    assert weights.min() >= 0
    found = (vertices[faces[rows]] * weights[..., None]).sum(1)
    steps = np.array([(i, j, 20 - i - j) for i in range(21) for j in range(21 - i)]) / 20
    dense = np.einsum("sk,fkc->fsc", steps, vertices[faces]).reshape(-1, 3)
    for query, point in zip(queries, found, strict=True):
        best = np.linalg.norm(dense - query, axis=1).min()
        assert np.linalg.norm(point - query) <= best + 1e-12


def test_consensus_ignores_outliers_and_counts_votes():
    rng = np.random.default_rng(1)
    samples = rng.normal(scale=1e-4, size=(20, POINTS, 3)) + (0.01, 0.02, 0.03)
    samples[:3, 0] += 0.05
    samples[5:, 1] = np.nan
    samples[:, 2] = np.nan
    positions, spread, votes = _consensus(samples)
    np.testing.assert_allclose(positions[0], (0.01, 0.02, 0.03), atol=2e-4)
    # The spread tells of the outliers that the position ignores.
    assert spread[0] > 10 * spread[3]
    assert votes[:3].tolist() == [20, 5, 0]
    assert np.isnan(spread[2])


@pytest.fixture(scope="module")
def head(shared):
    return ict_head.head(shared)


def test_needs_an_albedo_and_a_face(head):
    with pytest.raises(UserError, match="no albedo"):
        calibrate(replace(head, albedo=None))
    flat = (head.template * (1.0, 0.1, 0.1)).astype(np.float32)
    faceless = replace(head, albedo=np.zeros_like(head.albedo), template=flat)
    with pytest.raises(UserError, match="face detector found 0 of 36"):
        calibrate(faceless)


def test_calibration_is_deterministic_and_complete(head):
    result = calibrate(head)
    known = head.landmarks["mediapipe"]
    np.testing.assert_array_equal(result.landmarks.index, known.index)
    np.testing.assert_array_equal(result.landmarks.face, known.face)
    np.testing.assert_array_equal(result.landmarks.barycentric, known.barycentric)
    assert result.images == 36
    assert np.median(result.spread[known.index]) < 0.003


def test_pose_from_calibrated_points_is_unbiased(head):
    """Turns and shifts that a solver finds from detections average to the true ones."""
    landmarks = head.landmarks["mediapipe"]
    at_rest = points(torch.from_numpy(head.template)[None], landmarks)[0].double().numpy()
    turns, shifts = [], []
    models = FaceModels()
    for _, view in zip(range(9), render_views(head), strict=False):
        face = find_face(models, view.image)[landmarks.index, :2].astype(np.float64)
        fx, fy, cx, cy = view.intrinsics
        matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=np.float64)
        start = cv2.Rodrigues(view.rotation.astype(np.float64))[0]
        _, turn, shift = cv2.solvePnP(
            at_rest, face, matrix, None, start,
            view.translation.astype(np.float64).reshape(3, 1), True,
        )  # fmt: skip
        difference = cv2.Rodrigues(turn)[0] @ view.rotation.T
        turns.append(np.rad2deg(cv2.Rodrigues(difference)[0].ravel()))
        shifts.append(shift.ravel() - view.translation)
    turns, shifts = np.array(turns), np.array(shifts)
    assert np.abs(turns.mean(0)).max() < 0.7
    assert np.linalg.norm(turns, axis=1).mean() < 2.5
    assert np.abs(shifts.mean(0)[:2]).max() < 0.003
