"""Which image of the subject's clip each frame of a driven video is laid over, and the head's pose.

A motion without head turns of its own plays the clip forth and back, and the head keeps the pose
that it has there: dubbing. Other motions play the clip forwards, backwards, faster or not at all,
so that its head comes close to the motion's. The head itself turns by what remains, up to a little.
Instead of the clip, one image may lie below all frames.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headsplat.drive.motion import Motion
from headsplat.rotations import axis_angle_from_matrix, matrix_from_axis_angle
from headsplat.runtime.errors import UserError
from headsplat.track import Track

# Images of the clip that are used, frames planned at a time, and steps in the clip per frame.
MOST_IMAGES, _WINDOW, _STEPS = 1500, 1000, (1, 0, 2)
# Costs: of a step other than 1, of a reversal, and of a turn (radians) that is missed.
_UNEVEN, _REVERSAL, _TURN = 0.3, 4.0, 0.06
# Largest turn of the head off its pose in the image, radians about each axis.
REACH = 0.12


@dataclass(frozen=True)
class PastePlan:
    """For each of N frames; poses are float64.

    Attributes:
        rows: (N,) int64 row of the track, whose image lies below.
        rotation: (N, 3, 3) head to camera.
        translation: (N, 3) meters.
        trunk: (N, 3, 4) trunk to head, or None of a dubbed clip without a trunk.
    """

    rows: np.ndarray
    rotation: Tensor
    translation: Tensor
    trunk: Tensor | None


def plan_paste(
    track: Track, motion: Motion, follow: bool, pivot: Tensor, still_frame: int = 0
) -> PastePlan:
    """Plan a video.

    Args:
        track: of the subject's clip.
        motion: N frames at the clip's frame rate.
        follow: whether the motion's head turns are shown; else those of the clip are.
        pivot: (3,) the neck joint in the head's frame, meters.
        still_frame: id of the one image below all frames; 0 plays the clip.

    Raises:
        UserError: the track lacks the still frame.
    """
    order = np.argsort(track.ids)[:MOST_IMAGES]
    if still_frame:
        order = _row_of(track, still_frame)
    rotation, translation = (value[order] for value in track.poses(torch.float64))
    trunk = track.trunk()
    trunk = None if trunk is None else trunk[order].double()
    count = len(motion.times)
    if not follow:
        rows = forth_and_back(len(order), count)
        below = None if trunk is None else trunk[rows]
        return PastePlan(order[rows], rotation[rows], translation[rows], below)
    rows = closest_path(rotation.numpy(), motion.rotation.numpy())
    there, place = rotation[rows], translation[rows]
    rest = axis_angle_from_matrix(there.mT @ motion.rotation)
    turned = there @ matrix_from_axis_angle(rest.clamp(-REACH, REACH))
    # The neck joint stays where it is in the image.
    moved = place + (there - turned) @ pivot
    if trunk is None:
        trunk = torch.eye(3, 4, dtype=torch.float64).expand(len(order), 3, 4)
    below = trunk[rows]
    shift = (there @ below[..., 3:])[..., 0] + place - moved
    pose = torch.cat([there @ below[..., :3], shift[..., None]], -1)
    return PastePlan(order[rows], turned, moved, turned.mT @ pose)


def _row_of(track: Track, frame: int) -> np.ndarray:
    """(1,) row of a frame."""
    row = np.flatnonzero(track.ids == frame)
    if not len(row):
        raise UserError(
            f"still_frame {frame}: the track has no such frame; its ids are {track.ids.min()} to "
            f"{track.ids.max()}"
        )
    return row


def forth_and_back(images: int, count: int) -> np.ndarray:
    """(count,) int64: 0, 1 ... images - 1, images - 2 ... 1, 0, 1 ..."""
    turn = np.arange(count) % max(2 * images - 2, 1)
    return np.minimum(turn, 2 * images - 2 - turn)


def closest_path(clip: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Images whose heads are turned as wanted, in an order that a video can play.

    Dynamic programming over image and direction of play, a window of frames at a time.

    Args:
        clip: (M, 3, 3) head poses of the images in order.
        wanted: (N, 3, 3).

    Returns:
        (N,) int64 rows of `clip`.
    """
    flat = clip.reshape(len(clip), 9).T
    cost: np.ndarray | None = None
    parts = []
    for first in range(0, len(wanted), _WINDOW):
        turns = wanted[first : first + _WINDOW].reshape(-1, 9)
        # 3 - trace is the square of a small angle.
        missed = (3 - turns @ flat).clip(0) / _TURN**2
        came = np.zeros((len(turns), 2, len(clip)), np.int8)
        for k, miss in enumerate(missed):
            if cost is not None:
                cost, came[k] = _step(cost)
            cost = miss + (np.zeros((2, 1)) if cost is None else cost)
        end = np.unravel_index(cost.argmin(), cost.shape)
        path, way, row = np.empty(len(turns), np.int64), int(end[0]), int(end[1])
        start = int(first > 0)
        for k in reversed(range(len(turns))):
            path[k] = row
            if k or start:
                way, row = _origin(way, row, int(came[k, way, row]))
        parts.append(path)
        # The next window goes on from here.
        held = np.full_like(cost, np.inf)
        held[end] = 0
        cost = held
    return np.concatenate(parts)


def _step(cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least cost of each (direction, image) after a step, and the number of the step taken."""
    options = np.full((2 * len(_STEPS), *cost.shape), np.inf)
    for way, sign in enumerate((1, -1)):
        for number, step in enumerate(_STEPS):
            for turned in (0, 1):
                before = cost[way ^ turned]
                size = len(before) - step
                if size <= 0:
                    continue
                price = _UNEVEN * (step != 1) + _REVERSAL * turned
                target = options[2 * number + turned, way]
                if sign > 0:
                    target[step:] = before[:size] + price
                else:
                    target[:size] = before[step:] + price
    chosen = options.argmin(0)
    return np.take_along_axis(options, chosen[None], 0)[0], chosen.astype(np.int8)


def _origin(way: int, row: int, number: int) -> tuple[int, int]:
    """Direction and image before a step."""
    step, turned = _STEPS[number // 2], number % 2
    return way ^ turned, row - step if way == 0 else row + step
