"""A motion as a file, `.npz`: what the stage `speak` writes and `drive_avatar` plays."""

from pathlib import Path

import numpy as np
import torch

from headsplat.drive.kinds import STILL, MotionOptions
from headsplat.drive.motion import Motion, require_finite
from headsplat.drive.subject import DrivenSubject
from headsplat.frame_code import FrameCode
from headsplat.heads.model import HeadModel
from headsplat.runtime.errors import UserError, shown
from headsplat.runtime.files import read_npz, write_npz
from headsplat.runtime.storage import AGAIN

_ARRAYS = {"times": (), "condition": (None,), "rotation": (3, 3), "translation": (3,)}
_NAMES = ("head_name", "head_version")


def write_motion(path: Path | str, motion: Motion, head: HeadModel) -> None:
    """Write a motion atomically, with the name and version of its head model."""
    write_npz(
        path,
        **{name: getattr(motion, name).numpy() for name in _ARRAYS},
        head_name=np.array(head.name),
        head_version=np.array(head.version),
    )


def read_motion_file(path: Path, subject: DrivenSubject, options: MotionOptions) -> Motion:
    """Read a motion that `write_motion` wrote.

    Args:
        path: the file.
        subject: the driven subject; the motion must have been made for its head model.
        options: head motion "still" keeps the head at the subject's mean pose; other values play
            the poses of the file.

    Raises:
        UserError: it cannot be read, is damaged, or was made for another head.
    """
    fix = f"give a motion.npz; if the workflow made it, {AGAIN}"
    arrays = read_npz(path, (*_ARRAYS, *_NAMES), fix)
    made_for = " ".join(str(arrays[name]) for name in _NAMES)
    if made_for != f"{subject.head.name} {subject.head.version}":
        raise UserError(
            f"{path}: made for head {shown(made_for)}, the avatar's is {subject.head.name} "
            f"{subject.head.version}; make the motion for this avatar"
        )
    count, size = arrays["times"].size, FrameCode.size(subject.head)
    values = {}
    for name, shape in _ARRAYS.items():
        value = arrays[name]
        expected = (count, *(size if axis is None else axis for axis in shape))
        if value.dtype.kind != "f" or value.shape != expected or count == 0:
            raise UserError(
                f"{path}: '{name}' is {value.dtype} of shape {list(value.shape)[:4]}, expected "
                f"numbers of {list(expected)}; {fix}"
            )
        values[name] = torch.from_numpy(value.astype(np.float64))
        require_finite(values[name].reshape(count, -1), f"{path}: '{name}'")
    if (values["times"].diff() <= 0).any():
        raise UserError(f"{path}: 'times' does not increase; {fix}")
    motion = Motion(**values)
    if options.head_motion == STILL:
        poses = subject.limits.poses_from_track(motion.rotation, motion.translation, STILL)
        motion = Motion(motion.times, motion.condition, *poses)
    return motion
