"""Who is driven: what readers of motions must know of the avatar."""

from dataclasses import dataclass

import torch
from torch import Tensor

from headsplat.drive.limits import Seen
from headsplat.gaussians.deform.codes import EYELIDS, EYES, JAW, condition_size
from headsplat.heads.model import HeadModel
from headsplat.heads.skinning import HeadGeometry

NECK_JOINT, ROOT_JOINT = 1, 0


@dataclass(frozen=True)
class Target:
    """The subject to be driven.

    Attributes:
        head: its head model.
        shape: (S,) identity of the avatar.
        seen: what its clip showed.
    """

    head: HeadModel
    shape: Tensor
    seen: Seen

    @property
    def expressions(self) -> int:
        """E, the expression codes of its head."""
        return condition_size(self.head) - JAW - EYES - EYELIDS

    def joint(self, index: int, exp: Tensor) -> Tensor:
        """(N, E) float64 codes -> (N, 3): a joint of this person before any rotation, metres."""
        geometry = HeadGeometry(self.head, dtype=torch.float64)
        shape = self.shape.detach().cpu().double()
        return geometry.joints(shape, exp)[:, index]
