"""FLAME's axis-angle pose slots folded into one rigid motion of the head, and back; all float64.

The head's frame of a track is FLAME with neither global rotation, neck rotation nor translation.
What a tool keeps in those slots moves every vertex that hangs on the neck joint or below as one
body:

    v' = R_g (R_n (v - J_1) + J_1 - J_0) + J_0 + translation,

with the root joint J_0 and the neck joint J_1 where shape and expression put them. Two things
that follow the neck are left out: its pose corrective, and vertices of neck and shoulders that
hang on the root in part.
"""

import numpy as np
import torch

from headsplat.heads.model import HeadModel
from headsplat.heads.skinning import HeadGeometry
from headsplat.rotations import (
    axis_angle_from_matrix,
    matrix_from_6d,
    matrix_from_axis_angle,
    matrix_to_6d,
)
from headsplat.runtime.errors import UserError

FLIP = np.diag([1.0, -1.0, -1.0])
"""Between OpenGL's camera axes (y up, looks along -z) and OpenCV's (y down, looks along +z)."""
IDENTITY_6D = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float64))


def matrices(vectors: np.ndarray) -> np.ndarray:
    """Axis-angle (..., 3) radians -> (..., 3, 3)."""
    return matrix_from_axis_angle(_tensor(vectors)).numpy()


def vectors(matrices: np.ndarray) -> np.ndarray:
    """(..., 3, 3) -> axis-angle (..., 3) radians."""
    return axis_angle_from_matrix(_tensor(matrices)).numpy()


def six_from_axis_angle(values: np.ndarray) -> np.ndarray:
    """(N, 3 k) axis-angles in a row -> (N, 6 k) 6D rows."""
    turned = matrices(values.reshape(len(values), -1, 3))
    return matrix_to_6d(_tensor(turned)).flatten(1).numpy()


def axis_angle_from_six(values: np.ndarray) -> np.ndarray:
    """(N, 6 k) 6D rows -> (N, 3 k) axis-angles in a row."""
    turned = matrix_from_6d(_tensor(values.reshape(len(values), -1, 6))).numpy()
    return vectors(turned).reshape(len(values), -1)


def root_and_neck(
    head: HeadModel, shape: np.ndarray, exp: np.ndarray, offset: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Joints J_0 and J_1 of each frame before any rotation.

    Args:
        head: FLAME.
        shape: (S,) identity.
        exp: (N, E).
        offset: (V, 3) metres that the tool adds to the shaped vertices, or None.

    Returns:
        (N, 3) and (N, 3) metres.
    """
    geometry = HeadGeometry(head, dtype=torch.float64)
    joints = geometry.joints(_tensor(shape), _tensor(exp)).numpy()
    if offset is not None:
        joints = joints + head.joint_regressor.astype(np.float64) @ offset
    return joints[:, 0], joints[:, 1]


def fold(
    global_rotation: np.ndarray,
    neck_rotation: np.ndarray,
    translation: np.ndarray,
    root: np.ndarray,
    neck: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The head's rigid motion from FLAME's slots.

    Args:
        global_rotation: (N, 3) axis-angle about J_0.
        neck_rotation: (N, 3) axis-angle about J_1.
        translation: (N, 3) or (3,) metres, added last.
        root: (N, 3) J_0.
        neck: (N, 3) J_1.

    Returns:
        R (N, 3, 3) and t (N, 3): v' = R v + t.
    """
    turn, nod = matrices(global_rotation), matrices(neck_rotation)
    lever = neck - _apply(nod, neck) - root
    return turn @ nod, _apply(turn, lever) + root + translation


def unfold(
    R: np.ndarray,
    t: np.ndarray,
    root: np.ndarray,
    neck: np.ndarray | None = None,
    neck_rotation: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The inverse of `fold` with a known neck rotation.

    Args:
        R: (N, 3, 3).
        t: (N, 3).
        root: (N, 3) J_0.
        neck: (N, 3) J_1, wanted with `neck_rotation`.
        neck_rotation: (N, 3) axis-angle about J_1, or None for a still neck.

    Returns:
        global rotation (N, 3) axis-angle and translation (N, 3).
    """
    if neck_rotation is None:
        return vectors(R), t - root + _apply(R, root)
    nod = matrices(neck_rotation)
    turn = R @ nod.transpose(0, 2, 1)
    lever = neck - _apply(nod, neck) - root
    return vectors(turn), t - root - _apply(turn, lever)


def require_rigid(R: np.ndarray, where: str) -> None:
    """A matrix (3, 3) that is no rotation is a `UserError` that names `where`."""
    # Entries first: large ones overflow.
    square = R @ R.T if np.abs(R).max() < 2 else np.zeros((3, 3))
    if not np.allclose(square, np.eye(3), atol=1e-3) or np.linalg.det(R) < 0:
        raise UserError(f"{where} is no rigid motion; export it again")


def _apply(R: np.ndarray, points: np.ndarray) -> np.ndarray:
    return (R @ points[..., None])[..., 0]
