"""The trunk under a driven head."""

import pytest
import torch

from headsplat.drive.trunk_motion import MOST_SHIFT, MOST_TURN, carried_trunk, following_trunk
from headsplat.rotations import axis_angle_from_matrix, matrix_from_axis_angle, mean_rotation

PIVOT = torch.tensor([0, -0.09, -0.06], dtype=torch.float64)
BASE = torch.diag(torch.tensor([1.0, -1, -1], dtype=torch.float64))


def random_trunk(count: int, seed: int, turn: float = 0.1, shift: float = 0.005) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    vectors = turn * torch.randn(count, 3, generator=generator, dtype=torch.float64)
    turns = matrix_from_axis_angle(vectors)
    moved = shift * torch.randn(count, 3, generator=generator, dtype=torch.float64)
    return torch.cat([turns, (PIVOT + moved - turns @ PIVOT)[..., None]], -1)


def in_camera(rotation, translation, trunk, point):
    moved = (trunk[..., :3] @ point) + trunk[..., 3]
    return (rotation @ moved[..., None])[..., 0] + translation


def test_ones_own_trunk_comes_back():
    own = random_trunk(40, 0)
    torch.testing.assert_close(carried_trunk(own, own, PIVOT), own, atol=1e-9, rtol=0)


def test_a_drivers_posture_becomes_the_subjects():
    driver, own = random_trunk(40, 1), random_trunk(30, 2)
    lean = matrix_from_axis_angle(torch.tensor([0.2, 0, 0.1], dtype=torch.float64))
    leaning = torch.cat([driver[..., :3] @ lean, driver[..., 3:]], -1)
    plain, other = carried_trunk(driver, own, PIVOT), carried_trunk(leaning, own, PIVOT)
    torch.testing.assert_close(plain[..., :3], other[..., :3], atol=1e-2, rtol=0)
    mean = mean_rotation(own[..., :3])
    torch.testing.assert_close(mean_rotation(plain[..., :3]), mean, atol=1e-2, rtol=0)
    stiff = carried_trunk(driver, None, PIVOT)
    eye = torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(mean_rotation(stiff[..., :3]), eye, atol=1e-2, rtol=0)


def test_a_trunk_stays_while_the_head_shakes_and_follows_when_it_moves_away():
    count = 200
    time = torch.arange(count, dtype=torch.float64)
    yaw = torch.zeros(count, 3, dtype=torch.float64)
    yaw[:, 1] = 0.2 * torch.sin(time)  # 4 times a second
    head = BASE @ matrix_from_axis_angle(yaw)
    walk = torch.zeros(count, 3, dtype=torch.float64)
    walk[:, 0], walk[:, 2] = 0.1 * time / count, 0.8
    place = walk + (BASE @ PIVOT) - head @ PIVOT
    trunk = following_trunk(head, place, BASE, None, PIVOT, 25.0)
    turns = axis_angle_from_matrix(BASE.T @ head @ trunk[..., :3])
    assert turns.abs().max() < 0.03
    shoulder = torch.tensor([0.15, -0.2, -0.05], dtype=torch.float64)
    x = in_camera(head, place, trunk, shoulder)[:, 0]
    assert x[-20] - x[20] == pytest.approx(0.1 * 160 / count, abs=0.005)
    assert x.diff().abs().max() < 0.002
    neck = in_camera(head, place, trunk, PIVOT)
    torch.testing.assert_close(neck, walk + BASE @ PIVOT, atol=3e-3, rtol=0)


def test_a_still_head_has_the_clips_mean_trunk():
    own = random_trunk(30, 4)
    head = BASE.expand(9, 3, 3)
    place = torch.tensor([0, 0, 0.8], dtype=torch.float64).expand(9, 3)
    trunk = following_trunk(head, place, BASE, own, PIVOT, 25.0)
    torch.testing.assert_close(trunk[..., :3], mean_rotation(own[..., :3]).expand(9, 3, 3))


def test_necks_are_not_wrung():
    wild = random_trunk(50, 3, turn=2.0, shift=0.3)
    trunk = carried_trunk(wild, None, PIVOT)
    angle = axis_angle_from_matrix(trunk[..., :3]).norm(dim=1)
    assert angle.max() <= MOST_TURN + 1e-6
    shift = trunk[..., :3] @ PIVOT + trunk[..., 3] - PIVOT
    assert shift.norm(dim=1).max() <= MOST_SHIFT + 1e-9
