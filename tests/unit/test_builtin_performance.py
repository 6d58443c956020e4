"""Motion of the built-in subject: range, smoothness, blinks and gaze."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from headsplat.rotations import axis_angle_from_matrix
from headsplat.runtime.errors import UserError
from headsplat.synthetic.parameters import (
    CAMERA,
    SHAPES_OF_CHANNEL,
    animate,
    sample_identity,
    turn_matrices,
)
from headsplat.synthetic.performance import Performance, perform
from headsplat.synthetic.speech import compose_speech
from tests.unit.toy_head import toy_head

FPS = 25
NAMES = sorted(
    {
        pattern.replace("*", side)
        for shapes in SHAPES_OF_CHANNEL.values()
        for pattern in shapes
        for side in (("_L", "_R") if "*" in pattern else ("",))
    }
)


def acted(seconds: float) -> Performance:
    return perform(compose_speech(seconds), FPS)


def arkit_head():
    return replace(toy_head(expression=len(NAMES)), expression_names=tuple(NAMES))


@pytest.mark.parametrize("seconds", [3.0, 12.0])
def test_head_turns_reach_their_range_both_ways_and_stay_smooth(seconds):
    degrees = np.rad2deg(acted(seconds).angles)
    least = np.array([23.5, 7.0, 5.5])
    most = np.array([27.0, 12.0, 9.0])
    for extreme in (degrees.max(0), -degrees.min(0)):
        assert np.all(extreme > least)
        assert np.all(extreme < most)
    assert np.abs(np.diff(degrees, axis=0)).max() < 5.0
    assert np.abs(np.diff(degrees, 2, axis=0)).max() < 2.0


@pytest.mark.parametrize("seconds", [2.0, 3.0, 12.0])
def test_blinks_close_fully_take_six_to_eight_frames_and_come_every_two_to_four_seconds(seconds):
    blink = acted(seconds).blink
    moving = (blink > 0.005).any(1).astype(int)
    edges = np.diff(np.concatenate([[0], moving, [0]]))
    begins, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    assert len(begins) >= max(1, int(seconds / 4))
    assert set(ends - begins) <= {6, 7, 8}
    assert begins[0] > 0
    assert ends[-1] < len(blink)
    for begin, end in zip(begins, ends, strict=True):
        assert blink[begin:end].max(0).min() > 0.98
    pauses = np.diff(begins) / FPS
    assert np.all((pauses >= 2) & (pauses <= 4))


def test_gaze_jumps_between_rests_and_stays_within_the_eye():
    gaze = np.rad2deg(acted(12.0).gaze)
    speed = np.abs(np.diff(gaze, axis=0)).max(1)
    assert 8 <= (speed > 4).sum() <= 40
    assert np.median(speed) < 1.5
    assert np.abs(gaze).max() <= 22.0 + 1e-6
    assert np.ptp(gaze[:, 0]) > 25


def test_brows_and_smile_move_within_their_range():
    performance = acted(12.0)
    for track in (*performance.brows.T, performance.smile):
        assert track.min() >= 0
        assert track.max() <= 1
        assert np.ptp(track) > 0.3


def test_each_block_of_frames_resembles_others_in_the_clip():
    performance = acted(12.0)
    state = np.hstack([np.rad2deg(performance.angles) / 5, performance.lips[:, :1] * 2])
    count = len(state)
    for middle in (0.1, 0.3, 0.5, 0.7, 0.9):
        low, high = int(middle * count) - 5, int(middle * count) + 5
        others = np.concatenate([state[: low - 3], state[high + 3 :]])
        distance = np.linalg.norm(state[low:high, None] - others[None], axis=2).min(1)
        assert distance.max() < 1.0


def test_performance_is_deterministic():
    first, second = acted(3.0), acted(3.0)
    np.testing.assert_array_equal(first.angles, second.angles)
    np.testing.assert_array_equal(first.gaze, second.gaze)


def test_turns_have_their_documented_directions():
    turn = turn_matrices(np.eye(3) * 0.1)
    assert turn[0, 0, 2] > 0  # yaw: the face (+z) goes to the subject's left (+x)
    assert turn[1, 1, 2] < 0  # pitch: the face goes down
    assert turn[2, 0, 1] < 0  # roll: the crown (+y) goes to the subject's right (-x)


def test_parameters_follow_the_performance():
    performance, model = acted(3.0), arkit_head()
    pivot, camera_t = np.array([0.0, -0.15, -0.02]), np.array([0.0, -0.02, 0.9])
    parameters = animate(performance, model, pivot, camera_t)
    n = len(performance.times)
    shapes = {"exp": (n, len(NAMES)), "jaw": (n, 3), "eyes": (n, 6), "eyelids": (n, 2)}
    shapes |= {"R": (n, 3, 3), "t": (n, 3), "shape": (6,)}
    for name, shape in shapes.items():
        assert getattr(parameters, name).shape == shape
        assert getattr(parameters, name).dtype == np.float32
    assert np.corrcoef(parameters.jaw[:, 0], performance.lips[:, 0])[0, 1] > 0.999
    assert np.corrcoef(parameters.eyelids[:, 0], performance.blink[:, 0])[0, 1] > 0.95
    assert parameters.eyelids.min() >= 0
    assert parameters.eyelids.max() <= 1
    # The pivot moves with the performance's shift only, whatever the turn.
    seen = parameters.R @ pivot + parameters.t
    expected = (pivot + performance.shift) @ CAMERA.T + camera_t
    np.testing.assert_allclose(seen, expected, atol=1e-6)
    turned = axis_angle_from_matrix(torch.as_tensor(CAMERA.T @ parameters.R[:1])).numpy()
    assert np.abs(turned[0]).max() < 0.2


def test_identity_is_distinct_and_plausible():
    model = toy_head()
    identity = sample_identity(model)
    assert np.abs(identity).max() > 0.3
    assert np.abs(identity / model.shape_std).max() < 1.0


def test_a_head_without_the_needed_shapes_is_refused_by_name():
    model = replace(toy_head(expression=2), expression_names=("jawOpen", "mouthClose"))
    with pytest.raises(UserError, match="toy: no expression shape 'mouthPress"):
        animate(acted(1.0), model, np.zeros(3), np.array([0.0, 0.0, 1.0]))
