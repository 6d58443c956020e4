"""Driving motion: frame codes and head poses over time, independent of the source format."""

from dataclasses import dataclass

import torch
from torch import Tensor

from headsplat.frame_code import FrameCode
from headsplat.rotations import (
    matrix_from_6d,
    matrix_to_6d,
    slerp,
)
from headsplat.runtime.checks import check_shape
from headsplat.runtime.errors import UserError

MOST_FRAMES = 500_000  # of a video: five hours at 25 a second; more would take too much memory


@dataclass(frozen=True)
class Motion:
    """N samples of codes and head poses, float64.

    Attributes:
        times: (N,) seconds from the start of the sound, increasing.
        condition: (N, C) exp | jaw 6D | eyes 12 | eyelids 2 in the layout of the avatar's head.
        rotation: (N, 3, 3) head to OpenCV camera.
        translation: (N, 3) meters.
        trunk: (N, 3, 4) the driver's trunk to their head (`Track.trunk`), or None if unknown.

    Raises:
        ValueError: shapes that do not match, or no samples.
    """

    times: Tensor
    condition: Tensor
    rotation: Tensor
    translation: Tensor
    trunk: Tensor | None = None

    def __post_init__(self) -> None:
        count = check_shape(self.times, "N", "times")["N"]
        check_shape(self.condition, f"{count} C", "condition")
        check_shape(self.rotation, f"{count} 3 3", "rotation")
        check_shape(self.translation, f"{count} 3", "translation")
        if self.trunk is not None:
            check_shape(self.trunk, f"{count} 3 4", "trunk")
        if count == 0 or (self.times.diff() <= 0).any():
            raise ValueError("times: expected one or more, increasing")

    def resample(self, fps: float) -> "Motion":
        """Resample the motion to 0, 1/fps, 2/fps ... seconds, up to its last sample.

        Codes are interpolated linearly, rotations by slerp. Before the first sample the motion is
        constant.

        Raises:
            UserError: the motion ends before time 0, that would be more than `MOST_FRAMES`, or
                its numbers are too large.
        """
        last = self.times[-1].item()
        if not 0 <= last * fps < MOST_FRAMES:
            raise UserError(
                f"the motion ends at {last:.6g} s; expected up to {MOST_FRAMES} frames at {fps:g} "
                "a second, from 0 s on; cut it"
            )
        count = int(last * fps + 1e-6) + 1
        times = torch.arange(count, dtype=torch.float64) / fps
        right = torch.searchsorted(self.times, times).clamp(max=len(self.times) - 1)
        left = (right - 1).clamp(min=0)
        span = (self.times[right] - self.times[left]).clamp(min=1e-12)
        share = ((times - self.times[left]) / span).clamp(0, 1)[:, None]
        code = FrameCode(self.condition)
        joints = matrix_from_6d(code.joints)
        turned = matrix_to_6d(slerp(joints[left], joints[right], share[..., None]))
        between = FrameCode.pack(
            torch.lerp(code.exp[left], code.exp[right], share),
            turned[:, 0],
            turned[:, 1:].flatten(1),
            torch.lerp(code.eyelids[left], code.eyelids[right], share),
        )
        rotation = slerp(self.rotation[left], self.rotation[right], share)
        translation = torch.lerp(self.translation[left], self.translation[right], share)
        for values in (between.vector, rotation, translation):
            require_finite(values, "the motion")
        trunk = self.trunk
        if trunk is not None:
            turn, shift = trunk[..., :3], trunk[..., 3]
            turn = slerp(turn[left], turn[right], share)
            trunk = torch.cat([turn, torch.lerp(shift[left], shift[right], share)[..., None]], -1)
            require_finite(trunk, "the motion")
        return Motion(times, between.vector, rotation, translation, trunk)


def require_finite(values: Tensor, what: str) -> None:
    """Raise `UserError` for values that are not finite; it names `what` and the first row."""
    bad = (~torch.isfinite(values.flatten(1))).any(1)
    if bad.any():
        row = int(bad.nonzero()[0])
        raise UserError(f"{what} is not finite in row {row}; make the file again")
