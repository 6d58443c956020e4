"""Hair: heights from the mattes of a ball with a cap, and anchors within it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from headsplat.camera import project
from headsplat.gaussians.anchors import (
    HAIR_LAYERS,
    LEAST_HAIR,
    faces_inside,
    sample_anchors,
)
from headsplat.heads.model import HeadModel
from headsplat.track import Track
from headsplat.train.hair import hair_heights
from tests.unit.driven import make_track
from tests.unit.sphere_head import RADIUS, sphere_head

SIZE, FOCAL, COUNT = 96, 240.0, 24
HAIR = 0.025  # meters above the ball


@pytest.fixture(scope="module")
def head() -> HeadModel:
    model = sphere_head(24, 40)
    # The regions of the ball: the upper half is scalp.
    return replace(
        model, regions=model.regions | {"scalp": np.flatnonzero(model.template[:, 1] > 0.0)}
    )


def ball_track(head: HeadModel) -> Track:
    """A ball that turns by up to 25 degrees, without expressions."""
    track = make_track(head, COUNT)
    K = np.array([[FOCAL, 0, SIZE / 2], [0, FOCAL, SIZE / 2], [0, 0, 1]], np.float32)
    exp, lids = np.zeros_like(track.exp), np.zeros_like(track.eyelids)
    still = np.tile(np.array([1, 0, 0, 0, 1, 0], np.float32), (COUNT, 1))
    return replace(
        track, exp=exp, eyelids=lids, jaw=still, eyes=np.tile(still, (1, 2)), K=K,
        img_size=np.array([SIZE, SIZE]),
    )  # fmt: skip


class Mattes:
    """Masks of the ball, and of a larger ball's part above the height `floor` of the head."""

    def __init__(self, track: Track, hair: float, floor: float) -> None:
        self._track = track
        make = np.random.default_rng(0)
        direction = make.normal(size=(20000, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        cap = direction[direction[:, 1] * RADIUS > floor] * (RADIUS + hair)
        self._points = torch.from_numpy(np.concatenate([direction * RADIUS, cap])).float()

    def read(self, frame_id: int) -> np.ndarray:
        frames = self._track[self._track.rows([frame_id])].frames()
        camera = frames.rotation, frames.translation, frames.intrinsics
        column, row = project(self._points[None], *camera)[0, :, :2].floor().long().T
        planes = np.zeros((SIZE, SIZE, 5), np.uint8)
        planes[row.clamp(0, SIZE - 1), column.clamp(0, SIZE - 1), 3] = 255
        return planes


def heights_of(head: HeadModel, hair: float, floor: float = 0.02) -> np.ndarray:
    track = ball_track(head)
    return hair_heights(head, track, list(range(1, COUNT + 1)), Mattes(track, hair, floor))


def test_heights_are_those_of_the_hair(head):
    heights = heights_of(head, HAIR)
    top = head.template[:, 1] > 0.05
    assert np.median(heights[top]) == pytest.approx(HAIR, abs=0.004)
    assert np.abs(heights[top] - HAIR).max() < 0.012
    other = np.ones(len(heights), bool)
    other[head.regions["scalp"]] = other[head.regions["neck"]] = False
    assert heights[other].max() == 0


def test_a_bald_head_has_none(head):
    heights = heights_of(head, 0.0)
    assert np.median(heights[head.regions["scalp"]]) < LEAST_HAIR


def test_vertices_that_no_frame_sees_from_the_side_take_their_neighbors_heights(head):
    heights = heights_of(head, HAIR)
    back = (head.template[:, 2] < -0.09) & (head.template[:, 1] > 0.02)
    assert back.sum() > 5
    assert heights[back].min() > 0.5 * HAIR


def test_a_head_without_such_regions_has_no_hair(head):
    none = {name: ids for name, ids in head.regions.items() if name not in ("scalp", "neck")}
    bare = replace(head, regions=none | {"scalp": np.zeros(0, int), "neck": np.zeros(0, int)})
    assert heights_of(bare, HAIR).max() == 0


def test_layers_within_known_hair_replace_the_shells(head):
    hair = np.zeros(len(head.template), np.float32)
    tall = head.template[:, 1] > 0.05
    hair[tall] = 0.04
    anchors = sample_anchors(head, head.template, 4000, density={}, hair=hair)
    raised = anchors.height > 0
    known = hair[head.faces].min(1)[anchors.face] > 0
    found = np.unique(anchors.height[raised & known])
    np.testing.assert_allclose(found, [0.04 * share for share, _ in HAIR_LAYERS], rtol=1e-6)
    fixed = anchors.face[raised & ~known]
    assert len(fixed) > 50
    assert faces_inside(head, "scalp")[fixed].all()
    same = sample_anchors(head, head.template, 4000, density={})
    low = sample_anchors(head, head.template, 4000, density={}, hair=0.9 * LEAST_HAIR * (hair > 0))
    np.testing.assert_array_equal(same.height, low.height)
