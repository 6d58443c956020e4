"""Motions of this project as files: codes and head poses over time, such as `speak` makes.

An `.npz` with `times` (N,) seconds, `condition` (N, C), `rotation` (N, 3, 3), `translation` (N, 3),
and the name and version of the head model that the codes belong to. See `Motion`.
"""

from pathlib import Path

import numpy as np
import torch

from headsplat.drive.kinds import MotionOptions
from headsplat.drive.motion import Motion, require_finite
from headsplat.drive.subject import DrivenSubject
from headsplat.frame_code import FrameCode
from headsplat.heads.model import HeadModel
from headsplat.runtime.errors import UserError, shown
from headsplat.runtime.files import read_npz, write_npz

_AGAIN = "make the file again"
_ARRAYS = ("times", "condition", "rotation", "translation")
# A turned matrix differs from a rotation by no more than this; files hold float64.
_ROUNDING = 1e-4


def write_motion(path: Path, motion: Motion, head: HeadModel) -> None:
    """Write a motion as `.npz`, atomically.

    Args:
        path: file to write.
        motion: the motion.
        head: the head model of its codes.
    """
    arrays = {name: getattr(motion, name).numpy() for name in _ARRAYS}
    write_npz(path, **arrays, head_name=head.name, head_version=head.version)


def read_saved_motion(path: Path, subject: DrivenSubject, options: MotionOptions) -> Motion:
    """Read what `write_motion` wrote.

    Raises:
        UserError: an array is missing, has another shape or is not finite, or the codes belong to
            another head model or version.
    """
    values = read_npz(path, (*_ARRAYS, "head_name", "head_version"), _AGAIN)
    made_for = tuple(str(values[key]) for key in ("head_name", "head_version"))
    head = subject.head
    if made_for != (head.name, head.version):
        raise UserError(
            f"{path}: made for head {shown(' '.join(made_for))}, the avatar's is {head.name} "
            f"{head.version}; {_AGAIN} for this avatar"
        )
    count, size = values["times"].size, FrameCode.size(head)
    shapes = {"times": (count,), "condition": (count, size),
              "rotation": (count, 3, 3), "translation": (count, 3)}  # fmt: skip
    tensors = {}
    for name, shape in shapes.items():
        value = values[name]
        if value.shape != shape or value.dtype.kind not in "fiu" or count == 0:
            raise UserError(
                f"{path}: '{name}' is {value.dtype} of shape {list(value.shape)}, expected numbers "
                f"of shape {list(shape)}; {_AGAIN}"
            )
        tensors[name] = torch.from_numpy(value.astype(np.float64))
        require_finite(tensors[name].reshape(count, -1), f"{path}: '{name}'")
    rotation = tensors["rotation"]
    error = rotation @ rotation.transpose(1, 2) - torch.eye(3, dtype=torch.float64)
    if error.abs().max() > _ROUNDING or (torch.linalg.det(rotation) < 0).any():
        raise UserError(f"{path}: 'rotation' holds matrices that are no rotations; {_AGAIN}")
    if (tensors["times"].diff() <= 0).any():
        raise UserError(f"{path}: 'times' does not increase; {_AGAIN}")
    tensors["rotation"], tensors["translation"] = subject.limits.poses_from_track(
        rotation, tensors["translation"], options.head_motion
    )
    return Motion(**tensors)
