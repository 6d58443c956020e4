"""The driven subject: head model, identity, its own clip, base camera and driving limits."""

from dataclasses import dataclass

import torch
from torch import Tensor

from headsplat.drive.face_clip import FaceClip
from headsplat.drive.limits import DrivingLimits
from headsplat.gaussians.deform.base import CODE_LIMIT
from headsplat.heads.model import HeadModel
from headsplat.heads.skinning import HeadGeometry
from headsplat.track import Track

NECK_JOINT, ROOT_JOINT = 1, 0


@dataclass(frozen=True)
class DrivenSubject:
    """The subject that a motion is applied to.

    Attributes:
        head: its head model.
        shape: (S,) identity of the avatar.
        limits: base camera and range of its clip.
        clip: the face in its clip.
        track: of its clip.
    """

    head: HeadModel
    shape: Tensor
    limits: DrivingLimits
    clip: FaceClip
    track: Track

    @classmethod
    def from_track(
        cls,
        name: str,
        head: HeadModel,
        shape: Tensor,
        track: Track,
        code_limit: float = CODE_LIMIT,
    ) -> "DrivenSubject":
        """The subject of an avatar and its track.

        Args:
            name: of the track in messages.
            head: head model of both.
            shape: (S,) identity of the avatar.
            track: the subject's track.
            code_limit: as `DrivingLimits.from_track` takes it.
        """
        geometry = HeadGeometry(head, dtype=torch.float64)
        limits = DrivingLimits.from_track(track, code_limit)
        return cls(head, shape, limits, FaceClip.from_track(name, track, geometry), track)

    @property
    def expressions(self) -> int:
        """E, the number of expression coefficients."""
        return self.head.expression_basis.shape[2]

    def joint(self, index: int, exp: Tensor) -> Tensor:
        """(N, E) float64 expressions -> (N, 3): a joint of the unposed head, meters."""
        shape = self.shape.detach().cpu().double()
        return self.clip.mesh.geometry.joints(shape, exp)[:, index]

    def neck(self) -> Tensor:
        """(3,) float64: the neck joint of the neutral head, meters."""
        return self.joint(NECK_JOINT, torch.zeros(1, self.expressions, dtype=torch.float64))[0]
