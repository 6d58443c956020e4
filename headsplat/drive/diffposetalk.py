"""DiffPoseTalk's output (speech to FLAME codes, 25 fps, `demo.py --save_coef`) as a motion.

Its 50 expression coefficients are the first 50 of FLAME. Head rotation is about FLAME's root joint
and is moved into the camera pose, because an avatar's head is fixed in its own frame. The avatar
keeps its identity. DiffPoseTalk has no parameters for eyes and lids.
"""

from pathlib import Path

import torch
from torch import Tensor

from headsplat.drive.blinks import blinks
from headsplat.drive.kinds import KINDS, MotionOptions
from headsplat.drive.motion import Motion, require_finite
from headsplat.drive.subject import ROOT_JOINT, DrivenSubject
from headsplat.frame_code import FrameCode
from headsplat.heads.model import HeadModel
from headsplat.rotations import matrix_from_axis_angle, matrix_to_6d
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import read_npz

FPS = 25
EXPRESSIONS, POSE = 50, 6


def read_diffposetalk(path: Path, subject: DrivenSubject, options: MotionOptions) -> Motion:
    """Read `exp` (L, 50) and `pose` (L, 6 = global | jaw axis-angle); `shape` is not used.

    Args:
        path: the `.npz`; arrays may have one repetition in front, (1, L, ...).
        subject: the driven subject.
        options: without `blinks` the lids stay open.

    Raises:
        UserError: the avatar's head is not FLAME 2020, an array is missing, has another shape or
            is not finite.
    """
    require_flame_2020(f"{path}: ", subject.head)
    arrays = read_npz(path, ("exp", "pose"), "make the file again")
    exp = _array(arrays["exp"], EXPRESSIONS, f"{path}: 'exp'")
    pose = _array(arrays["pose"], POSE, f"{path}: 'pose'")
    if len(exp) != len(pose):
        raise UserError(
            f"{path}: 'exp' has {len(exp)} frames, 'pose' {len(pose)}; make the file again"
        )
    return motion_from_codes(exp, pose, subject, options)


def motion_from_codes(
    exp: Tensor, pose: Tensor, subject: DrivenSubject, options: MotionOptions
) -> Motion:
    """DiffPoseTalk's codes at 25 fps as a motion.

    Args:
        exp: (L, 50) float64.
        pose: (L, 6) global and jaw axis-angle, float64.
        subject: the driven subject, on FLAME 2020.
        options: without `blinks` the lids stay open.
    """
    count = len(exp)
    exp = torch.nn.functional.pad(exp, (0, subject.expressions - EXPRESSIONS))
    turns = matrix_from_axis_angle(pose.unflatten(1, (2, 3)))
    times = torch.arange(count, dtype=torch.float64) / FPS
    eyes = FrameCode.neutral(subject.head).eyes.double().expand(count, -1)
    lids = blinks(times) if options.blinks else exp.new_zeros(count, 2)
    condition = FrameCode.pack(exp, matrix_to_6d(turns[:, 1]), eyes, lids).vector
    pivot = subject.joint(ROOT_JOINT, exp)
    return Motion(
        times, condition, *subject.limits.poses_from_turns(turns[:, 0], pivot, options.head_motion)
    )


def require_flame_2020(where: str, head: HeadModel) -> None:
    """Raise `UserError`, which begins with `where`, unless the head is FLAME 2020."""
    # FLAME 2023 has other expressions; versions begin with the year.
    fits = head.name in KINDS["diffposetalk"].heads and not head.version.startswith("2023")
    if not fits or head.expression_basis.shape[2] < EXPRESSIONS:
        raise UserError(
            f"{where}DiffPoseTalk's codes are those of FLAME 2020, the avatar's head is "
            f"{head.name} {head.version}; drive an avatar that has FLAME 2020"
        )


def _array(values, width: int, what: str) -> Tensor:
    if values.ndim == 3 and len(values) == 1:
        values = values[0]
    if values.ndim != 2 or values.shape[1] != width or values.dtype.kind not in "fiu":
        raise UserError(
            f"{what} is {values.dtype} of shape {list(values.shape)}, expected numbers of "
            f"[frames, {width}]; make the file again with --save_coef"
        )
    if len(values) == 0:
        raise UserError(f"{what} has no frames; make the file again")
    tensor = torch.from_numpy(values.astype("f8"))
    require_finite(tensor, what)
    return tensor
