"""The subject to be driven, as readers of motions need it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from headsplat.drive.limits import DrivingLimits
from headsplat.heads.model import HeadModel
from headsplat.heads.skinning import HeadGeometry

NECK_JOINT, ROOT_JOINT = 1, 0


@dataclass(frozen=True)
class DrivenSubject:
    """The subject to be driven.

    Attributes:
        head: its head model.
        shape: (S,) identity of the avatar.
        limits: base camera and range of its clip.
    """

    head: HeadModel
    shape: Tensor
    limits: DrivingLimits

    @property
    def expressions(self) -> int:
        """E, the expression codes of its head."""
        return self.head.expression_basis.shape[2]

    def joint(self, index: int, exp: Tensor) -> Tensor:
        """(N, E) float64 codes -> (N, 3): a joint of this person before any rotation, metres."""
        geometry = HeadGeometry(self.head, dtype=torch.float64)
        shape = self.shape.detach().cpu().double()
        return geometry.joints(shape, exp)[:, index]
