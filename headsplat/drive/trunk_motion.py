"""The trunk's pose below a driven head: a driver's carried over, or a steady one that follows.

Poses map the resting trunk into the head's frame, as `Track.trunk` does; float64.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from headsplat.drive.subject import DrivenSubject
from headsplat.rotations import axis_angle_from_matrix, matrix_from_axis_angle, mean_rotation

# Share of a head turn that the trunk takes on, and the standard deviations of the smoothing in
# time: the trunk turns more slowly than it is shifted.
FOLLOWS, TURN_SECONDS, SHIFT_SECONDS = 0.25, 0.5, 0.2
# Largest turn (radians) and stretch (meters) of the neck in a driven video.
MOST_TURN, MOST_SHIFT = 0.7, 0.03


def trunk_below(
    subject: DrivenSubject, rotation: Tensor, translation: Tensor, driver: Tensor | None = None
) -> Tensor:
    """The trunk under a driven head: the driver's, carried over, or one that follows.

    Args:
        subject: who is driven.
        rotation: (N, 3, 3) head to camera, at the frame rate of the subject's clip.
        translation: (N, 3) meters.
        driver: (N, 3, 4) trunk of the driver, or None.

    Returns:
        (N, 3, 4) float32.
    """
    own, pivot = subject.track.trunk(), subject.neck()
    if driver is not None:
        return carried_trunk(driver, own, pivot).float()
    base, fps = subject.limits.rotation, subject.track.fps
    return following_trunk(rotation, translation, base, own, pivot, fps).float()


def carried_trunk(trunk: Tensor, own: Tensor | None, pivot: Tensor) -> Tensor:
    """The driver's trunk under the subject's head, relative to how both hold themselves.

    Args:
        trunk: (N, 3, 4) of the driver.
        own: (M, 3, 4) of the subject's clip, or None for a stiff neck.
        pivot: (3,) the subject's neck joint, meters.

    Returns:
        (N, 3, 4). A subject that is driven by its own track gets its own trunk.
    """
    turn, shift = _about(trunk, pivot)
    rest_turn, rest_shift = _rest(own, pivot) or (torch.eye(3).to(pivot), torch.zeros(3).to(pivot))
    turn = turn @ mean_rotation(turn).T @ rest_turn
    shift = shift - shift.median(0).values + rest_shift
    return _bounded(turn, shift, pivot)


def following_trunk(
    rotation: Tensor,
    translation: Tensor,
    base: Tensor,
    own: Tensor | None,
    pivot: Tensor,
    fps: float,
) -> Tensor:
    """A trunk that stands in the clip's mean pose and follows the head, damped.

    Args:
        rotation: (N, 3, 3) head to camera.
        translation: (N, 3) meters.
        base: (3, 3) mean head pose of the subject's clip.
        own: (M, 3, 4) trunk of the subject's clip, or None for a stiff neck.
        pivot: (3,) the subject's neck joint, meters.
        fps: frames a second.

    Returns:
        (N, 3, 4).
    """
    turns = axis_angle_from_matrix(base.T @ rotation)
    neck = rotation @ pivot + translation
    turns, neck = _smooth(turns, TURN_SECONDS * fps), _smooth(neck, SHIFT_SECONDS * fps)
    return _standing(rotation, translation, turns, neck, base, _rest(own, pivot), pivot)


class TrunkFollower:
    """`following_trunk` of one frame after another, smoothed by the frames before it.

    Args:
        subject: who is driven.
    """

    def __init__(self, subject: DrivenSubject) -> None:
        self._base, self._pivot = subject.limits.rotation, subject.neck()
        self._at_rest = _rest(subject.track.trunk(), self._pivot)
        self._turns: Tensor | None = None
        self._neck: Tensor | None = None

    def next(self, rotation: Tensor, translation: Tensor, seconds: float) -> Tensor:
        """The trunk under a head.

        Args:
            rotation: (1, 3, 3) head to camera, float64.
            translation: (1, 3) meters.
            seconds: since the frame before.

        Returns:
            (1, 3, 4) float32.
        """
        turns = axis_angle_from_matrix(self._base.T @ rotation)
        neck = rotation @ self._pivot + translation
        if self._turns is None or self._neck is None:
            self._turns, self._neck = turns, neck
        self._turns = torch.lerp(self._turns, turns, -math.expm1(-seconds / TURN_SECONDS))
        self._neck = torch.lerp(self._neck, neck, -math.expm1(-seconds / SHIFT_SECONDS))
        given = (rotation, translation, self._turns, self._neck)
        return _standing(*given, self._base, self._at_rest, self._pivot).float()


def _rest(own: Tensor | None, pivot: Tensor) -> tuple[Tensor, Tensor] | None:
    """Mean turn (3, 3) and shift (3,) of a clip's trunk; None for a stiff neck."""
    if own is None:
        return None
    turns, shifts = _about(own, pivot)
    return mean_rotation(turns), shifts.median(0).values


def _standing(
    rotation: Tensor,
    translation: Tensor,
    turns: Tensor,
    neck: Tensor,
    base: Tensor,
    rest: tuple[Tensor, Tensor] | None,
    pivot: Tensor,
) -> Tensor:
    """(N, 3, 4) trunk below heads whose smoothed turns and necks are given, (N, 3) each."""
    held = base @ matrix_from_axis_angle(FOLLOWS * turns)
    turn = rotation.mT @ held
    shift = (rotation.mT @ (neck - translation)[..., None])[..., 0] - pivot
    if rest is not None:
        shift = shift + turn @ rest[1]
        turn = turn @ rest[0]
    return _bounded(turn, shift, pivot)


def _about(trunk: Tensor, pivot: Tensor) -> tuple[Tensor, Tensor]:
    """Turns (N, 3, 3), and shifts (N, 3) of the pivot."""
    turn = trunk[..., :3].to(pivot)
    return turn, turn @ pivot + trunk[..., 3].to(pivot) - pivot


def _bounded(turn: Tensor, shift: Tensor, pivot: Tensor) -> Tensor:
    """The pose of turns about the pivot and shifts of it, within what a neck allows."""
    vector = axis_angle_from_matrix(turn)
    angle = vector.norm(dim=1, keepdim=True).clamp_min(1e-12)
    beyond = angle[..., None] > MOST_TURN
    turn = torch.where(beyond, matrix_from_axis_angle(vector * (MOST_TURN / angle)), turn)
    length = shift.norm(dim=1, keepdim=True).clamp_min(1e-12)
    shift = shift * (MOST_SHIFT / length).clamp_max(1)
    return torch.cat([turn, (pivot + shift - turn @ pivot)[..., None]], -1)


def _smooth(values: Tensor, deviation: float) -> Tensor:
    """(N, 3) smoothed in time by a Gaussian; the ends are repeated."""
    reach = max(1, math.ceil(3 * deviation))
    offset = torch.arange(-reach, reach + 1, dtype=values.dtype)
    kernel = torch.exp(-0.5 * (offset / max(deviation, 1e-6)).square())
    kernel = (kernel / kernel.sum()).expand(1, 1, -1)
    padded = F.pad(values.T[:, None], (reach, reach), mode="replicate")
    return F.conv1d(padded, kernel)[:, 0].T
