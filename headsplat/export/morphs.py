"""Morph targets of a head's mesh, and the weights that play frame codes with them.

The targets have ARKit's names. Jaw, lids and gaze are baked into `jawOpen`, `eyeBlink` and
`eyeLook`, so a program that knows only these names drives the whole face. An animation turns the
joints of jaw and eyes instead, which is exact. What else it needs are further targets: expression
shapes that ARKit joins or mixes with gaze, and the jaw's pose corrective.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headsplat.drive.arkit_motion import arkit_codes
from headsplat.formats.arkit.names import BLENDSHAPES, JAW_OPEN, arkit_name
from headsplat.frame_code import FrameCode
from headsplat.gaussians.deform.codes import posed_vertices
from headsplat.heads.model import HeadModel
from headsplat.heads.skinning import HeadGeometry
from headsplat.rotations import axis_angle_from_matrix, matrix_from_6d, matrix_from_axis_angle

# Targets whose largest change is smaller are left out, meters; so are weights that stay below.
_STILL, _UNUSED = 1e-5, 1e-4
CORRECTIVE = "jawOpenCorrective"
# What an ARKit target turns besides its expression shape, so that it cannot stand for the shape.
_WITH_JOINTS = ("JawOpen", "EyeBlink", "EyeLook")


@dataclass(frozen=True)
class Morphs:
    """T targets and their weights in N frames.

    Attributes:
        names: of the targets.
        changes: (T, V, 3) float32 meters, of the neutral head.
        weights: (N, T) float32.
    """

    names: tuple[str, ...]
    changes: np.ndarray
    weights: np.ndarray


def make_morphs(head: HeadModel, shape: Tensor, codes: FrameCode) -> Morphs:
    """The targets of a head and the weights that play codes.

    Args:
        head: the head model; of one without ARKit's names, expressions are numbered.
        shape: (S,) identity.
        codes: of N frames; the turns of jaw and eyes are left to the joints.
    """
    geometry = HeadGeometry(head, dtype=torch.float64)
    identity = shape.double()
    neutral = _vertices(geometry, identity, FrameCode.neutral(head).vector.double()[None])[0]
    exp, lids = codes.exp.double().numpy(), codes.eyelids.double().numpy()
    table: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    still = np.zeros(len(exp))
    rows = _vertices(geometry, identity, _arkit_rows(head))
    for name, posed in zip(BLENDSHAPES, rows, strict=True):
        change = posed - neutral
        if np.abs(change).max() > _STILL:
            table[name[0].lower() + name[1:]] = change, still
    for k, side in enumerate(("Left", "Right")):
        table[f"eyeBlink{side}"] = head.eyelid_basis[:, :, k], lids[:, k]
    for column, (name, own) in enumerate(_expression_targets(head)):
        if not own and name in table:
            table[name] = table[name][0], exp[:, column]
        elif np.abs(exp[:, column]).max(initial=0) > _UNUSED:
            own_name = f"{name}Shape" if name in table else name
            table[own_name] = head.expression_basis[:, :, column], exp[:, column]
    if head.pose_basis is not None:
        table[CORRECTIVE] = _corrective(head, codes)
    names = tuple(name for name, (change, _) in table.items() if np.abs(change).max() > _STILL)
    changes = np.stack([table[name][0] for name in names]).astype(np.float32)
    weights = np.stack([table[name][1] for name in names], 1).astype(np.float32)
    return Morphs(names, changes, weights)


def _vertices(geometry: HeadGeometry, shape: Tensor, codes: Tensor) -> np.ndarray:
    return np.concatenate([posed_vertices(geometry, shape, c[None]).numpy() for c in codes])


def _arkit_rows(head: HeadModel) -> Tensor:
    """(52, C) float64: the code of each of ARKit's coefficients at 1."""
    one = torch.eye(len(BLENDSHAPES), dtype=torch.float64)
    code = arkit_codes(dict(zip(BLENDSHAPES, one, strict=True)), head)
    if head.expression_names:
        return code.vector
    flat = torch.zeros(len(one), head.expression_basis.shape[2], dtype=torch.float64)
    return FrameCode.pack(flat, code.jaw, code.eyes, code.eyelids).vector


def _expression_targets(head: HeadModel) -> list[tuple[str, bool]]:
    """Target of each expression shape, and whether the shape needs a target of its own."""
    if not head.expression_names:
        return [(f"expression{k:03d}", True) for k in range(head.expression_basis.shape[2])]
    names = [arkit_name(name) for name in head.expression_names]
    return [
        (shape, True)
        if names.count(name) > 1 or name not in BLENDSHAPES or name.startswith(_WITH_JOINTS)
        else (name[0].lower() + name[1:], False)
        for shape, name in zip(head.expression_names, names, strict=True)
    ]


def _corrective(head: HeadModel, codes: FrameCode) -> tuple[np.ndarray, np.ndarray]:
    """Pose corrective of the fully open jaw, and (N,) its weights, exact for turns about x."""
    turn = matrix_from_axis_angle(torch.tensor([JAW_OPEN, 0.0, 0.0]).double())
    feature = (turn - torch.eye(3)).flatten().numpy()
    change = head.pose_basis[:, :, 9:18].astype(np.float64) @ feature
    angle = axis_angle_from_matrix(matrix_from_6d(codes.jaw.double()))[:, 0].numpy()
    return change, np.sin(angle) / np.sin(JAW_OPEN)
