"""ARKit blendshape coefficients, of Live Link Face or a speech network, as a motion.

For head models whose expression shapes have ARKit's names. `JawOpen` drives the jaw joint,
`EyeBlink` the eyelids and `EyeLook` the eye joints. The recorded eye angles repeat `EyeLook` and
are not read.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from headsplat.drive.face_clip import FaceClip
from headsplat.drive.kinds import MotionOptions
from headsplat.drive.motion import Motion
from headsplat.drive.subject import DrivenSubject
from headsplat.drive.transfer import transfer_face
from headsplat.formats.arkit.lam_table import read_lam_table
from headsplat.formats.arkit.live_link import LiveLinkTable, read_live_link
from headsplat.formats.arkit.names import (
    BLENDSHAPES,
    GAZE,
    JAW_OPEN,
    arkit_name,
    has_arkit_shapes,
)
from headsplat.frame_code import FrameCode
from headsplat.heads.model import HeadModel
from headsplat.rotations import matrix_from_axis_angle, matrix_to_6d
from headsplat.runtime.errors import UserError
from headsplat.runtime.logs import log

# Driven by joints and lids even if the head model has shapes of these names.
_BY_JOINTS = ("JawOpen", "EyeBlinkLeft", "EyeBlinkRight")


def read_arkit(path: Path, subject: DrivenSubject, options: MotionOptions) -> Motion:
    """Read the table of Live Link Face (`.csv`) or of LAM-A2E (`.json`).

    Raises:
        UserError: the head's expression shapes have other names, the table lacks a row that is
            named as neutral, or see `read_live_link` and `read_lam_table`.
    """
    require_arkit_head(f"{path}: ", subject.head)
    read = read_lam_table if path.suffix.lower() == ".json" else read_live_link
    return motion_from_table(str(path), read(path), subject, options)


def require_arkit_head(where: str, head: HeadModel) -> None:
    """Raise `UserError`, which begins with `where`, unless the head's shapes are ARKit's."""
    if not has_arkit_shapes(head.expression_names):
        raise UserError(
            f"{where}the avatar's head {head.name} has no expression shapes with ARKit's names; "
            "drive an avatar on the head ict or procedural"
        )


def motion_from_table(
    name: str,
    table: LiveLinkTable,
    subject: DrivenSubject,
    options: MotionOptions,
    zero_is_neutral: bool = False,
) -> Motion:
    """ARKit's coefficients as a motion; time 0 is the table's first row.

    Head angles are in radians: yaw to the subject's left, then pitch down, then roll towards the
    subject's right shoulder, R = R_y R_x R_z in the head's axes. The table has no head position, so
    the head turns about the neck joint. The rows that show a face are numbered from 1.

    Args:
        name: of the table in messages.
        table: all 52 coefficients; head angles if it has them.
        subject: the driven subject, see `require_arkit_head`.
        options: of the motion.
        zero_is_neutral: coefficients of 0 are the driver's neutral face, as those of a network are;
            otherwise it is found in the rows.
    """
    head = subject.head
    _log_lacking(head)
    count = len(table.times)
    values = {name: torch.from_numpy(column) for name, column in table.values.items()}
    code = arkit_codes(values, head)
    pivot = subject.neck()
    turned = subject.limits.poses_from_turns(head_turns(values, count), pivot, options.head_motion)
    times = torch.from_numpy(table.times)
    neutral = FrameCode.neutral(head).vector.double() if zero_is_neutral else None
    driver = FaceClip.from_codes(name, code.vector, times, subject.clip.mesh, neutral)
    return Motion(times, transfer_face(driver, subject.clip, options), *turned)


def _log_lacking(head: HeadModel) -> None:
    names = [arkit_name(name) for name in head.expression_names]
    lacking = set(BLENDSHAPES) - set(names) - set(_BY_JOINTS)
    # Some heads lack the EyeLook shapes, which move the lids; the eye joints turn on all heads.
    lacking = sorted(name for name in lacking if not name.startswith("EyeLook"))
    if lacking:
        log.info("head %s has no shape for %s: not driven", head.name, ", ".join(lacking))


def arkit_codes(values: Mapping[str, Tensor], head: HeadModel) -> FrameCode:
    """Frame codes (N, C) float64 of N rows of coefficients, before any transfer.

    Args:
        values: column -> (N,) float64; all 52 coefficients, further columns are ignored.
        head: see `require_arkit_head`.
    """
    count = len(values["JawOpen"])
    jaw = torch.zeros(count, 3, dtype=torch.float64)
    jaw[:, 0] = JAW_OPEN * values["JawOpen"].clamp(0, 1)
    eyes = torch.stack([_gaze(values, side) for side in ("Left", "Right")], 1)
    lids = torch.stack([values["EyeBlinkLeft"], values["EyeBlinkRight"]], 1).clamp(0, 1)
    six = matrix_to_6d(matrix_from_axis_angle(torch.cat([jaw[:, None], eyes], 1)))
    return FrameCode.pack(_expressions(values, head), six[:, 0], six[:, 1:].flatten(1), lids)


def _expressions(values: Mapping[str, Tensor], head: HeadModel) -> Tensor:
    exp = torch.zeros(len(values["JawOpen"]), len(head.expression_names), dtype=torch.float64)
    for column, shape in enumerate(head.expression_names):
        name = arkit_name(shape)
        if name in values and name not in _BY_JOINTS:
            exp[:, column] = values[name]
    if head.expression_range is None:
        return exp.clamp(0, 1)
    low, high = torch.from_numpy(head.expression_range).double().T
    return torch.minimum(torch.maximum(exp, low), high)


def _gaze(values: Mapping[str, Tensor], side: str) -> Tensor:
    """(N, 3) axis-angle of one eye: +x looks down, +y to the subject's left."""
    look = {d: values[f"EyeLook{d}{side}"].clamp(0, 1) for d in ("Down", "Up", "In", "Out")}
    left = look["Out"] - look["In"]
    if side == "Right":
        left = -left
    return GAZE * torch.stack([look["Down"] - look["Up"], left, torch.zeros_like(left)], 1)


def head_turns(values: Mapping[str, Tensor], count: int) -> Tensor:
    """(N, 3, 3) float64 from the head's angles in radians; no turns where `values` has none."""
    turns = torch.eye(3, dtype=torch.float64).expand(count, 3, 3)
    for axis, angle in ((1, "HeadYaw"), (0, "HeadPitch"), (2, "HeadRoll")):
        if angle in values:
            vector = torch.zeros(count, 3, dtype=torch.float64)
            vector[:, axis] = values[angle]
            turns = turns @ matrix_from_axis_angle(vector)
    return turns
