"""Clamp driving signals (codes and head turns) to the training range.

The output of a deformation model is arbitrary for codes far outside the training range.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headsplat.drive.kinds import ABSOLUTE, STILL
from headsplat.gaussians.deform.base import CODE_LIMIT
from headsplat.rotations import axis_angle_from_matrix, matrix_from_axis_angle, mean_rotation
from headsplat.runtime.logs import log
from headsplat.track import Track

# Margin of head turns beyond the clip's range about each axis, radians.
TURN_LIMIT = np.deg2rad(5.0)


@dataclass(frozen=True)
class DrivingLimits:
    """Base camera of a subject and the allowed range of driving signals; float64.

    Attributes:
        rotation: (3, 3) mean head pose, head to OpenCV camera: the base camera of a motion.
        translation: (3,) median, meters.
        turns: (2, 3) lowest and highest allowed turn from the mean pose, as axis-angle in the
            head's axes, radians.
        codes: (2, C) lowest and highest allowed code.
    """

    rotation: Tensor
    translation: Tensor
    turns: Tensor
    codes: Tensor

    @classmethod
    def from_track(cls, track: Track, code_limit: float = CODE_LIMIT) -> "DrivingLimits":
        """Limits from the frames of a track with a detected face (from all, if none has one).

        Args:
            track: the subject's track.
            code_limit: margin beyond the range of the codes, in standard deviations.
        """
        rows = ~track.interpolated if not track.interpolated.all() else slice(None)
        condition = track.codes(torch.float64).vector[rows]
        slack = code_limit * condition.std(0, correction=0)
        rotation, translation = (value[rows] for value in track.poses(torch.float64))
        mean = mean_rotation(rotation)
        turns = axis_angle_from_matrix(mean.T @ rotation)
        return cls(
            mean,
            translation.median(0).values,
            torch.stack([turns.amin(0) - TURN_LIMIT, turns.amax(0) + TURN_LIMIT]),
            torch.stack([condition.amin(0) - slack, condition.amax(0) + slack]),
        )

    def hold_codes(self, condition: Tensor) -> Tensor:
        """(N, C) codes clamped to the limits."""
        return torch.minimum(torch.maximum(condition, self.codes[0]), self.codes[1])

    def clamp_codes(self, condition: Tensor) -> Tensor:
        """`hold_codes`; logs how many frames that changed."""
        held = self.hold_codes(condition)
        count = int((held != condition).any(1).sum())
        if count:
            log.info("codes beyond the range of the subject's clip, clamped: %d frames", count)
        return held

    def hold_turns(self, turns: Tensor) -> Tensor:
        """(N, 3, 3) turns from the mean view, clamped; those within the limits are as given."""
        vector = axis_angle_from_matrix(turns)
        held = torch.minimum(torch.maximum(vector, self.turns[0]), self.turns[1])
        beyond = (held != vector).any(1)
        return torch.where(beyond[:, None, None], matrix_from_axis_angle(held), turns)

    def clamp_turns(self, turns: Tensor) -> Tensor:
        """`hold_turns`; logs how many frames that changed."""
        held = self.hold_turns(turns)
        count = int((held != turns).flatten(1).any(1).sum())
        if count:
            log.info("head turned beyond the clip's range, clamped: %d frames", count)
        return held

    def poses_about(self, turns: Tensor, pivot: Tensor) -> tuple[Tensor, Tensor]:
        """Head poses of turns about a pivot, in front of the base camera.

        With the base camera (R_b, t_b), a turn R_g and the pivot J: R = R_b R_g and
        t = t_b + R_b (J - R_g J).

        Args:
            turns: (N, 3, 3) R_g in the head's axes, within the limits.
            pivot: (3,) or (N, 3) J, meters in the head's frame.

        Returns:
            R (N, 3, 3) head to camera, t (N, 3) meters.
        """
        pivot = pivot.expand(len(turns), 3)
        lever = pivot - (turns @ pivot[..., None])[..., 0]
        return self.rotation @ turns, self.translation + lever @ self.rotation.T

    def poses_from_turns(
        self, turns: Tensor, pivot: Tensor, head_motion: str
    ) -> tuple[Tensor, Tensor]:
        """Head poses from the turns of a whole motion, clamped, as `poses_about` gives them.

        Args:
            turns: (N, 3, 3) in the head's axes.
            pivot: (3,) or (N, 3), meters in the head's frame.
            head_motion: `relative` takes the turns relative to their mean over the motion.

        Returns:
            R (N, 3, 3) head to camera, t (N, 3) meters.
        """
        if head_motion == STILL:
            turns = torch.eye(3, dtype=turns.dtype).expand_as(turns)
        elif head_motion != ABSOLUTE:
            turns = mean_rotation(turns).T @ turns
        return self.poses_about(self.clamp_turns(turns), pivot)

    def poses_from_track(
        self, rotation: Tensor, translation: Tensor, head_motion: str
    ) -> tuple[Tensor, Tensor]:
        """Head poses that follow the poses of another track.

        Args:
            rotation: (N, 3, 3) the driver's head to OpenCV camera.
            translation: (N, 3) meters.
            head_motion: `relative` applies turns relative to the driver's mean pose, and shifts
                relative to its median position. A subject driven by its own track gets its own
                poses. `absolute` takes the driver's poses.

        Returns:
            R (N, 3, 3) head to camera, t (N, 3) meters.
        """
        base = self.rotation if head_motion == ABSOLUTE else mean_rotation(rotation)
        if head_motion == STILL:
            rotation, translation = (
                base.expand_as(rotation),
                self.translation.expand_as(translation),
            )
        elif head_motion != ABSOLUTE:
            translation = self.translation + translation - translation.median(0).values
        return self.rotation @ self.clamp_turns(base.T @ rotation), translation
