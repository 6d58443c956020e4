"""An avatar as the file that a browser reads: what its JSON and arrays say.

docs/web-page.md describes the file; `headsplat.web.container` packs it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from headsplat.avatar import Avatar
from headsplat.drive.closure import FaceAtRest
from headsplat.drive.neutral import neutral_face
from headsplat.drive.subject import DrivenSubject
from headsplat.formats.arkit.names import BLENDSHAPES, GAZE, JAW_OPEN, arkit_name
from headsplat.frame_code import FrameCode
from headsplat.gaussians.deform.blendshapes import LARGEST_SCALE, BlendshapeDeformation
from headsplat.gaussians.deform.flashavatar import FlashAvatarDeformation
from headsplat.heads.model import HeadModel
from headsplat.rotations import mean_rotation
from headsplat.runtime.errors import UserError
from headsplat.track import Track
from headsplat.web.baked_arrays import baked_arrays
from headsplat.web.gaussian_arrays import blendshape_arrays, torso_arrays
from headsplat.web.head_arrays import head_arrays, neck_joint
from headsplat.web.options import INT8, WebOptions

# Shapes of these names are driven by joints and lids, as in `headsplat.drive.arkit_motion`.
_BY_JOINTS = ("JawOpen", "EyeBlinkLeft", "EyeBlinkRight")


def avatar_payload(
    name: str, avatar: Avatar, track: Track, precision: str = INT8, bases: int = WebOptions.bases
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """JSON and arrays of an avatar, without motions.

    Args:
        name: of the subject.
        avatar: the avatar, on the CPU.
        track: of its clip: camera, limits and neutral face.
        precision: of the option.
        bases: most bases that the network of flashavatar is reduced to.

    Raises:
        UserError: the avatar's model has no form for browsers, its reduction is too coarse, or its
            numbers are too large.
    """
    head, model = avatar.head, avatar.deformation
    shape = avatar.shape.detach().cpu().double().numpy()
    subject = DrivenSubject.from_track(name, head, avatar.shape, track, model.code_limit)
    arrays = head_arrays(head, shape, avatar.anchors)
    with np.errstate(over="ignore", invalid="ignore"):  # told below
        if isinstance(model, FlashAvatarDeformation):
            arrays |= baked_arrays(avatar, track, bases, precision, subject.limits.codes)
        elif isinstance(model, BlendshapeDeformation):
            arrays |= blendshape_arrays(model, precision)
        else:
            raise UserError(
                f"deformation model '{model.name}': a browser cannot draw it; train blendshapes"
            )
        if avatar.torso is not None:
            arrays |= torso_arrays(avatar.torso, precision)
    arrays |= _limits(subject)
    for key, values in arrays.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise UserError(f"{name}: '{key}' has numbers beyond half floats; train again")
    limits = subject.limits
    meta = {
        "name": name,
        "model": model.name,
        "precision": precision,
        "counts": {
            "gaussians": len(avatar.anchors),
            "torso": 0 if avatar.torso is None else avatar.torso.count,
            "bases": len(arrays["gaussians/scales"]),
            "hidden": len(arrays["network/hidden_bias"]),
            "vertices": len(arrays["head/skinning"]),
            "expressions": head.expression_basis.shape[2],
            "code": FrameCode.size(head),
        },
        "head": _head_facts(head),
        "camera": _camera(avatar, track),
        "base": _pose(limits.rotation, limits.translation),
        "neck": neck_joint(head, shape).tolist(),
        "trunk": _trunk(subject) if avatar.torso is not None or track.trunk_R is not None else None,
        "fps": track.fps,
        "largest_scale": LARGEST_SCALE,
        "harmonics_degree": getattr(model, "active_degree", 0),
        "motions": [],
    }
    return meta, arrays


def _limits(subject: DrivenSubject) -> dict[str, np.ndarray]:
    """Lowest and highest codes, turns and expressions; the neutral code; openings of the eyes."""
    limits, allowed = subject.limits, subject.head.expression_range
    arrays = {"limits/codes": limits.codes, "limits/turns": limits.turns}
    arrays["limits/neutral"] = neutral = neutral_face(subject.clip)
    arrays["limits/lids"] = _lids(subject, neutral)
    found = {name: value.numpy().astype(np.float32) for name, value in arrays.items()}
    if allowed is not None:
        found["limits/expressions"] = allowed.T.astype(np.float32)
    return found


def _trunk(subject: DrivenSubject) -> dict[str, Any]:
    """How the trunk of the clip stands below the head: mean turn, and shift of the neck, meters."""
    own, pivot = subject.track.trunk(), subject.neck()
    if own is None:
        return {"R": torch.eye(3).flatten().tolist(), "shift": [0.0, 0.0, 0.0]}
    turn = own[..., :3].double()
    shift = turn @ pivot + own[..., 3] - pivot
    return {
        "R": mean_rotation(turn).flatten().tolist(),
        "shift": shift.median(0).values.tolist(),
    }


def _lids(subject: DrivenSubject, neutral: torch.Tensor) -> torch.Tensor:
    """(2, 4 + E) of each eye, meters: how far it opens, which is linear in lid and expressions.

    Opening without expression; its change by the lid's code; openings of the subject's open and
    closed eyes; changes by the expressions.
    """
    mesh, rest = subject.clip.mesh, FaceAtRest.of(subject.clip, neutral)
    blank = FrameCode(FrameCode.neutral(subject.head).vector.double())
    each = FrameCode(blank.vector.expand(subject.expressions, -1))
    each = each.replace(exp=torch.eye(subject.expressions))
    bare, shut = mesh.eyes(torch.stack([blank.vector, blank.replace(eyelids=1.0).vector]))
    slopes = mesh.eyes(each.vector) - bare
    return torch.cat([torch.stack([bare, shut - bare, rest.opened, rest.shut]), slopes]).T


def _head_facts(head: HeadModel) -> dict[str, Any]:
    """Name and licence of the head, and which of ARKit's coefficients drives each expression."""
    rows = {name: row for row, name in enumerate(BLENDSHAPES) if name not in _BY_JOINTS}
    return {
        "name": head.name,
        "version": head.version,
        "licence": head.licence,
        "expressions": list(head.expression_names),
        "arkit": {
            "names": BLENDSHAPES,
            "rows": [rows.get(arkit_name(name), -1) for name in head.expression_names],
            "jaw_open": float(JAW_OPEN),
            "gaze": float(GAZE),
        },
    }


def _camera(avatar: Avatar, track: Track) -> dict[str, Any]:
    fx, fy, cx, cy = track.intrinsics().tolist()
    if avatar.centered:
        cx, cy = track.width / 2, track.height / 2
    return {"K": [fx, fy, cx, cy], "width": track.width, "height": track.height}


def _pose(rotation: torch.Tensor, translation: torch.Tensor) -> dict[str, Sequence[float]]:
    return {"R": rotation.flatten().tolist(), "t": translation.tolist()}
