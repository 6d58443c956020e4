"""What the second round of tracking solves for: changes of codes and poses, in plausible units."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from headsplat.frame_code import FrameCode
from headsplat.heads.model import HeadModel
from headsplat.rotations import matrix_from_6d, matrix_from_axis_angle, matrix_to_6d
from headsplat.track import Track, head_moves

# Usual errors of a track: of the head's turn in radians; of its place across and along the line of
# sight in meters; of a code as a share of its deviation over the clip, and at least so much.
TURN, ACROSS, DEPTH = 0.008, 0.0012, 0.004
CODE_SHARE, CODE_LEAST = 0.4, 0.02
POSE = 6


@dataclass(frozen=True)
class Poses:
    """Codes and poses of B frames.

    Attributes:
        condition: (B, C) codes.
        rotation: (B, 3, 3) head to camera.
        translation: (B, 3) meters.
        trunk: (B, 3, 4) trunk to head, or None.
    """

    condition: Tensor
    rotation: Tensor
    translation: Tensor
    trunk: Tensor | None


class Unknowns:
    """Maps changes (N, 6 + C) in units of their usual errors to codes and poses.

    A change is the turn about the head's origin (3), the shift in the camera's axes (3), and the
    code's.

    Args:
        head: the head model of the track.
        track: of N frames, where the changes start.
        device: of all tensors.
    """

    def __init__(self, head: HeadModel, track: Track, device: torch.device) -> None:
        frames = track.frames()
        self._track = track
        self._code = frames.code.vector.to(device)
        self._rotation, self._translation = (value.to(device) for value in track.poses())
        units = (CODE_SHARE * self._code.std(0)).clamp_min(CODE_LEAST)
        pose = units.new_tensor([TURN, TURN, TURN, ACROSS, ACROSS, DEPTH])
        self.units = torch.cat([pose, units])
        low, high = (torch.full_like(units, side) for side in (-torch.inf, torch.inf))
        if head.expression_range is not None:
            bounds = torch.as_tensor(head.expression_range, device=device)
            low[: len(bounds)], high[: len(bounds)] = bounds.unbind(1)
        low[-2:], high[-2:] = 0, 1  # lids
        # A code that is outside already may stay where it is.
        self._low = torch.minimum(low, self._code.amin(0))
        self._high = torch.maximum(high, self._code.amax(0))
        self._trunk = None
        if track.trunk_R is not None and track.trunk_t is not None:
            self._trunk = tuple(
                torch.from_numpy(np.ascontiguousarray(value)).float().to(device)
                for value in (track.trunk_R, track.trunk_t)
            )

    def start(self) -> Tensor:
        """(N, 6 + C) no change."""
        return torch.zeros(len(self._code), len(self.units), device=self._code.device)

    def path(self, rows: slice) -> Tensor:
        """(n, 6 + C) where frames start, in the units of changes, for temporal differences.

        Turns enter as three entries of the rotation relative to the clip's first frame.
        """
        turns = self._rotation[:1].mT @ self._rotation[rows]
        entries = torch.stack([turns[:, 2, 1], turns[:, 0, 2], turns[:, 1, 0]], -1)
        return torch.cat([entries, self._translation[rows], self._code[rows]], 1) / self.units

    def poses(self, change: Tensor, rows: Tensor) -> Poses:
        """Codes and poses of some rows; `change` (B, 6 + C) is theirs."""
        turn, shift, code = (change * self.units).split([3, 3, change.shape[1] - POSE], 1)
        code = torch.minimum(torch.maximum(self._code[rows] + code, self._low), self._high)
        parts = FrameCode(code)
        # A track holds rotations, so joints that are none must not be fitted.
        joints = matrix_to_6d(matrix_from_6d(parts.joints)).flatten(1)
        condition = torch.cat([parts.exp, joints, parts.eyelids], 1)
        rotation = self._rotation[rows] @ matrix_from_axis_angle(turn)
        translation = self._translation[rows] + shift
        return Poses(
            condition, rotation, translation, self._trunk_to_head(rows, rotation, translation)
        )

    def _trunk_to_head(self, rows: Tensor, rotation: Tensor, translation: Tensor) -> Tensor | None:
        if self._trunk is None:
            return None
        turn, place = (value[rows] for value in self._trunk)
        back = rotation.mT
        return torch.cat([back @ turn, back @ (place - translation)[..., None]], -1)

    def track(self, change: Tensor) -> Track:
        """The track with changes (N, 6 + C)."""
        everything = torch.arange(len(change), device=change.device)
        with torch.no_grad():
            poses = self.poses(change, everything)
        code = FrameCode(poses.condition)
        rotation = poses.rotation.double().cpu().numpy()
        translation = poses.translation.double().cpu().numpy()
        head_R, head_t, camera_R, camera_t = head_moves(rotation, translation)
        exp, jaw, eyes, eyelids = (part.cpu().numpy() for part in code.unpack())
        track = replace(
            self._track, exp=exp, jaw=jaw, eyes=eyes, eyelids=eyelids, R=rotation, t=translation,
            head_R=head_R, head_t=head_t, camera_R=camera_R, camera_t=camera_t,
        )  # fmt: skip
        if track.neck is None or track.trunk_R is None:
            return track
        between = torch.from_numpy(np.swapaxes(track.trunk_R, 1, 2) @ rotation)
        return replace(track, neck=matrix_to_6d(between).numpy())
