"""The driven subject: head model, identity, base camera and driving limits."""

from dataclasses import dataclass

import torch
from torch import Tensor

from headsplat.drive.limits import DrivingLimits
from headsplat.heads.model import HeadModel
from headsplat.heads.skinning import HeadGeometry

NECK_JOINT, ROOT_JOINT = 1, 0


@dataclass(frozen=True)
class DrivenSubject:
    """The subject that a motion is applied to.

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
        """E, the number of expression coefficients."""
        return self.head.expression_basis.shape[2]

    def joint(self, index: int, exp: Tensor) -> Tensor:
        """(N, E) float64 expressions -> (N, 3): a joint of the unposed head, meters."""
        geometry = HeadGeometry(self.head, dtype=torch.float64)
        shape = self.shape.detach().cpu().double()
        return geometry.joints(shape, exp)[:, index]
