"""Synthetic test clips with images: their guarantees."""

import numpy as np
import pytest
import torch

from benchmarks.synthetic_clips import Footage, SyntheticClip
from benchmarks.synthetic_tracks import make_ground_truth
from headsplat.synthetic.head.head import procedural_head

SIZE = 96


@pytest.fixture(scope="module")
def head():
    return procedural_head()


def test_frames_are_deterministic(head):
    clip = SyntheticClip(head, 12, Footage(size=SIZE), seed=4)
    whole, matte = clip.images(torch.arange(4))
    alone, _ = clip.images(torch.tensor([2]))
    assert torch.equal(whole[2], alone[0])
    assert whole.shape == (4, SIZE, SIZE, 3)
    assert 0.03 < (matte > 127).float().mean() < 0.5


def test_landmarks_lie_on_the_head(head):
    clip = SyntheticClip(head, 6, Footage(size=SIZE), seed=4)
    _, matte = clip.images(torch.arange(6))
    nose = clip.crop.points(clip.landmarks[:, 4])[:, :2].astype(int)
    assert all(matte[k, y, x] == 255 for k, (x, y) in enumerate(nose))


def test_dropped_frames_leave_a_jump_in_the_ground_truth(head):
    clip = SyntheticClip(head, 20, Footage(size=SIZE, dropped=(7, 12)), seed=4)
    whole = make_ground_truth(head, 22, seed=4)
    rows = [*range(7), *range(8, 13), *range(14, 22)]
    np.testing.assert_array_equal(clip.ground_truth.rotation, whole.rotation[rows])
    assert len(clip.landmarks) == 20


def test_occluders_cover_the_image_and_mislead_landmarks(head):
    plain, covered = (
        SyntheticClip(head, 30, Footage(size=SIZE, occluder=kind), seed=4)
        for kind in (None, "microphone")
    )
    images = [clip.images(torch.tensor([10]))[0].float() for clip in (plain, covered)]
    different = ((images[0] - images[1]).abs() > 30).any(-1).float().mean()
    assert 0.01 < different < 0.3
    misled = np.linalg.norm(plain.landmarks - covered.landmarks, axis=-1) > 2
    assert 0.005 < misled.mean() < 0.5


def test_an_open_shutter_blurs(head):
    sharp, blurred = (
        SyntheticClip(head, 12, Footage(size=SIZE, shutter=s, image_noise=0), seed=4)
        .images(torch.tensor([5]))[0].float()
        for s in (0.0, 1.0)
    )  # fmt: skip
    edges = [image.diff(dim=2).square().mean() for image in (sharp, blurred)]
    assert edges[1] < edges[0]
