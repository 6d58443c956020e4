"""Closed eyes and lips of a driver stay closed on another person's face.

A code that closes a small eye leaves a large one open. A sum of codes that closes the lips of one
person may part another's. So both are measured on the posed meshes, relative to the neutral faces.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from headsplat.drive.face_clip import FaceClip, ranked
from headsplat.drive.face_mesh import FaceMesh
from headsplat.frame_code import FrameCode
from headsplat.rotations import matrix_from_6d, matrix_from_axis_angle, matrix_to_6d

# The smallest openings of a clip, and up to which part of the open eyes they are closed eyes.
_SMALLEST, _BLINKED = 0.005, 0.4
# Lips that the driver opens more than their neutral by the first are closed, by the last are open;
# meters.
LIPS_CLOSED, LIPS_OPEN = 1e-3, 4e-3
# Step of the jaw's derivative and largest correction, radians.
_STEP, _LARGEST = 0.01, 0.1
_ROUNDS = 2


@dataclass(frozen=True)
class FaceAtRest:
    """A person's neutral face, and how far its eyes are open and closed.

    Attributes:
        mesh: the person.
        code: (C,) code of the neutral face.
        opened: (2,) openings of the open eyes, left first, meters.
        shut: (2,) openings of the closed eyes.
        lips: (1,) opening of the lips.
    """

    mesh: FaceMesh
    code: Tensor
    opened: Tensor
    shut: Tensor
    lips: Tensor

    @classmethod
    def of(cls, clip: FaceClip, neutral: Tensor) -> "FaceAtRest":
        """The person of a clip.

        Open eyes are those of the neutral face. Closed are the smallest openings of the clip, or
        the lids' code 1 where the clip shows no blink.
        """
        closed = FrameCode(neutral).replace(eyelids=1.0).vector
        opened, shut = clip.mesh.eyes(torch.stack([neutral, closed]))
        smallest = ranked(clip.mesh.eyes(clip.codes), _SMALLEST)
        if smallest.mean() > _BLINKED * opened.mean():
            smallest = shut.clamp(min=0)
        shut = torch.minimum(smallest, opened - 1e-4)
        return cls(clip.mesh, neutral, opened, shut, clip.mesh.opening(neutral[None]))


def closed_lids(driver: FaceAtRest, subject: FaceAtRest, frames: Tensor, codes: Tensor) -> Tensor:
    """Codes whose eyes go the driver's part of the way from open to closed.

    Args:
        driver: who drives.
        subject: who is driven.
        frames: (N, C) codes of the driver.
        codes: (N, C) the same frames as the subject's, with any lids.

    Returns:
        (N, C).
    """
    part = (driver.opened - driver.mesh.eyes(frames)) / (driver.opened - driver.shut)
    wanted = subject.opened - part * (subject.opened - subject.shut)
    code = FrameCode(codes)
    bare = subject.mesh.eyes(code.replace(eyelids=0.0).vector)
    slope = (subject.mesh.eyes(code.replace(eyelids=1.0).vector) - bare).clamp(max=-1e-4)
    return code.replace(eyelids=((wanted - bare) / slope).clamp(0, 1)).vector


def closed_lips(driver: FaceAtRest, subject: FaceAtRest, frames: Tensor, codes: Tensor) -> Tensor:
    """Codes with the jaw raised where the driver's lips are closed and the subject's would not be.

    Arguments and result as of `closed_lids`.
    """
    opened = driver.mesh.opening(frames) - driver.lips
    share = ((LIPS_OPEN - opened) / (LIPS_OPEN - LIPS_CLOSED)).clamp(0, 1)
    share = share.square() * (3 - 2 * share)
    wanted = subject.lips + opened.clamp(min=0)
    code, jaw = FrameCode(codes), matrix_from_6d(FrameCode(codes).jaw)
    raised = torch.zeros_like(opened)
    for _ in range(_ROUNDS):
        now, more = (subject.mesh.opening(_turned(code, jaw, raised + d)) for d in (0, _STEP))
        slope = ((now - more) / _STEP).clamp(min=0.02)
        raised = (raised + (now - wanted) / slope).clamp(0, _LARGEST)
    raised = share * raised
    changed = raised > 0
    return torch.where(changed[:, None], _turned(code, jaw, raised), codes)


def _turned(code: FrameCode, jaw: Tensor, raised: Tensor) -> Tensor:
    turn = torch.nn.functional.pad(-raised[:, None], (0, 2))
    return code.replace(jaw=matrix_to_6d(matrix_from_axis_angle(turn) @ jaw)).vector
