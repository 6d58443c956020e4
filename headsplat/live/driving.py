"""A performer's frames to codes and head poses of an avatar, one at a time.

The mapping is that of `headsplat.drive.arkit_motion`, with coefficients of 0 as the performer's
neutral face, and the limits of the subject's clip.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from headsplat.avatar import Avatar
from headsplat.drive.arkit_motion import arkit_codes, head_turns, require_arkit_head
from headsplat.drive.face_clip import FaceClip
from headsplat.drive.kinds import RELATIVE, MotionOptions
from headsplat.drive.neutral import neutral_face
from headsplat.drive.subject import DrivenSubject
from headsplat.drive.transfer import FaceTransfer
from headsplat.drive.trunk_motion import TrunkFollower
from headsplat.formats.arkit.names import BLENDSHAPES, ROTATIONS
from headsplat.frame_code import FrameCode
from headsplat.live.frame import ArkitFrame

_FIRST_STEP = 1 / 30  # seconds
_LONGEST_STEP = 1.0


@dataclass(frozen=True)
class Posed:
    """What is drawn: one frame, float32.

    Attributes:
        condition: (1, C) code.
        rotation: (1, 3, 3) head to camera.
        translation: (1, 3) meters.
        trunk: (1, 3, 4) trunk to head, or None for a stiff neck.
    """

    condition: Tensor
    rotation: Tensor
    translation: Tensor
    trunk: Tensor | None = None

    def moves(self) -> tuple[Tensor, ...]:
        """Arguments of `FrameRenderer.render`."""
        given = (self.condition, self.rotation, self.translation)
        return given if self.trunk is None else (*given, self.trunk)


class LiveDriver:
    """Maps frames with angles in radians, measured from the performer's neutral face.

    Args:
        avatar: the avatar.
        subject: of the avatar.
        face: `relative` adds to the subject's neutral face, `absolute` takes the coefficients.
        still: keep the head still.

    Raises:
        UserError: the head's expression shapes have other names than ARKit's.
    """

    def __init__(
        self, avatar: Avatar, subject: DrivenSubject, face: str = RELATIVE, still: bool = False
    ) -> None:
        head = subject.head
        require_arkit_head("", head)
        self._head, self._limits, self._pivot = head, subject.limits, subject.neck()
        self._still = still
        neutral = FrameCode.neutral(head).vector.double()
        times = torch.zeros(1, dtype=torch.float64)
        # Of the performer only the neutral face is known. Their closed eyes are those of code 1.
        driver = FaceClip.from_codes(
            "the performer", neutral[None], times, subject.clip.mesh, neutral
        )
        self._transfer = FaceTransfer(driver, subject.clip, MotionOptions(face=face))
        self._trunk = _follower(avatar, subject)
        self._seconds: float | None = None

    @torch.no_grad()
    def pose(self, frame: ArkitFrame, seconds: float) -> Posed:
        """What to draw for a frame that was seen at a time in seconds."""
        columns = [*frame.weights.tolist(), *frame.angles.tolist()]
        row = torch.tensor(columns, dtype=torch.float64)[:, None].unbind()
        values = dict(zip((*BLENDSHAPES, *ROTATIONS), row, strict=True))
        code = self._transfer.codes(arkit_codes(values, self._head).vector)
        turns = head_turns(values, 1)
        if self._still or not frame.pose:
            turns = torch.eye(3, dtype=torch.float64)[None]
        poses = self._limits.poses_about(self._limits.hold_turns(turns), self._pivot)
        trunk = None
        if self._trunk is not None:
            step = _FIRST_STEP if self._seconds is None else seconds - self._seconds
            trunk = self._trunk.next(*poses, min(max(step, 0.0), _LONGEST_STEP))
        self._seconds = seconds
        condition = self._limits.hold_codes(code).float()
        return Posed(condition, poses[0].float(), poses[1].float(), trunk)


def resting(avatar: Avatar, subject: DrivenSubject) -> Posed:
    """The subject's neutral face in front of the camera of its clip."""
    limits = subject.limits
    code = limits.hold_codes(neutral_face(subject.clip)[None])
    rotation, translation = limits.rotation[None], limits.translation[None]
    follower = _follower(avatar, subject)
    trunk = None if follower is None else follower.next(rotation, translation, 0.0)
    return Posed(code.float(), rotation.float(), translation.float(), trunk)


def _follower(avatar: Avatar, subject: DrivenSubject) -> TrunkFollower | None:
    """For avatars that show a trunk, or whose neck follows one."""
    shown = avatar.torso is not None or subject.track.trunk_R is not None
    return TrunkFollower(subject) if shown else None
