"""FLAME conventions shared by formats: pose parameters to rigid motion, code lengths; float64.

Global rotation, neck rotation and translation are converted to one rigid motion of the head, and
back.

The head frame of a track is FLAME without global rotation, neck rotation and translation. These
parameters move all vertices attached to the neck joint or its children rigidly:

    v' = R_g (R_n (v - J_1) + J_1 - J_0) + J_0 + translation,

with the root joint J_0 and the neck joint J_1 of the shaped head. Two effects are ignored: the
neck's pose corrective, and vertices of neck and shoulders partly attached to the root.
"""

import numpy as np
import torch

from headsplat.formats.importing.clip import ImportOptions
from headsplat.heads.model import HeadModel
from headsplat.heads.skinning import HeadGeometry
from headsplat.rotations import (
    axis_angle_from_matrix,
    matrix_from_6d,
    matrix_from_axis_angle,
    matrix_to_6d,
)
from headsplat.runtime.errors import UserError
from headsplat.track import Track, check_head

FLIP = np.diag([1.0, -1.0, -1.0])
"""Between OpenGL's camera axes (y up, looks along -z) and OpenCV's (y down, looks along +z)."""


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


def root_and_neck_joints(
    head: HeadModel, shape: np.ndarray, exp: np.ndarray, offset: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Joints J_0 and J_1 of each frame before any rotation.

    Args:
        head: FLAME.
        shape: (S,) identity.
        exp: (N, E).
        offset: (V, 3) personal vertex offsets of the tool, meters, or None.

    Returns:
        (N, 3) and (N, 3) meters.
    """
    geometry = HeadGeometry(head, dtype=torch.float64)
    joints = geometry.joints(_tensor(shape), _tensor(exp)).numpy()
    if offset is not None:
        joints = joints + head.joint_regressor.astype(np.float64) @ offset
    return joints[:, 0], joints[:, 1]


def rigid_from_pose(
    global_rotation: np.ndarray,
    neck_rotation: np.ndarray,
    translation: np.ndarray,
    root: np.ndarray,
    neck: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Rigid motion of the head from FLAME's pose parameters.

    Args:
        global_rotation: (N, 3) axis-angle about J_0.
        neck_rotation: (N, 3) axis-angle about J_1.
        translation: (N, 3) or (3,) meters, added last.
        root: (N, 3) J_0.
        neck: (N, 3) J_1.

    Returns:
        R (N, 3, 3) and t (N, 3): v' = R v + t.
    """
    turn, nod = matrices(global_rotation), matrices(neck_rotation)
    lever = neck - _apply(nod, neck) - root
    return turn @ nod, _apply(turn, lever) + root + translation


def pose_from_rigid(
    R: np.ndarray,
    t: np.ndarray,
    root: np.ndarray,
    neck: np.ndarray | None = None,
    neck_rotation: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """FLAME's pose parameters from the rigid motion of the head, given the neck rotation.

    Args:
        R: (N, 3, 3).
        t: (N, 3).
        root: (N, 3) J_0.
        neck: (N, 3) J_1, required with `neck_rotation`.
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
    """Raise `UserError` that names `where` if a matrix (3, 3) is not a rotation."""
    # Entries first: large ones overflow.
    square = R @ R.T if np.abs(R).max() < 2 else np.zeros((3, 3))
    if not np.allclose(square, np.eye(3), atol=1e-3) or np.linalg.det(R) < 0:
        raise UserError(f"{where} is no rigid motion; export it again")


def _apply(R: np.ndarray, points: np.ndarray) -> np.ndarray:
    return (R @ points[..., None])[..., 0]


def fit_codes(values: np.ndarray, wanted: int, have: int, where: str, key: str) -> np.ndarray:
    """Convert codes of a format's length to the head model's length.

    FLAME's bases are ordered, so missing codes are zeros. Surplus codes must be zero, as in
    headsplat's padded exports.

    Args:
        values: (..., n) codes.
        wanted: number of codes of the format.
        have: number of codes of the head model.
        where: the file, for messages.
        key: the key in it.

    Returns:
        (..., have) float64.

    Raises:
        UserError: wrong number of codes, values that are not finite, or nonzero surplus codes.
    """
    values = np.asarray(values, np.float64)
    count = values.shape[-1]
    if count != wanted:
        raise UserError(
            f"{where}: '{key}' has {count} codes, this format has {wanted}; "
            "export it again with that many"
        )
    if not np.isfinite(values).all():
        raise UserError(f"{where}: '{key}' is not finite; export it again")
    if values[..., have:].any():
        raise UserError(
            f"{where}: '{key}' has {count} codes, the head model {have}; imported codes are "
            "FLAME's: write 'flame' in the column 'head'"
        )
    out = np.zeros((*values.shape[:-1], have))
    out[..., : min(count, have)] = values[..., :have]
    return out


def require_flame(options: ImportOptions, default: str, tool: str) -> str:
    """Check that the head model is the FLAME that made the codes; return its year.

    Args:
        options: of the import; `flame_version` overrides the tool's default.
        default: "2020" or "2023", the tool's default.
        tool: its name, for messages.

    Raises:
        UserError: another head model, or FLAME of another year with other bases.
    """
    head, year = options.head, options.flame_version or default
    if head.name != "flame":
        raise UserError(
            f"{tool}: its codes are FLAME's, the head is '{head.name}'; write 'flame' in the "
            "column 'head' and see the README for its files"
        )
    found = head.version.split("-", 1)[0]
    if found != year:
        raise UserError(
            f"{tool}: its codes are of FLAME {year}, the head model is FLAME {found}, whose codes "
            f"mean other shapes; point heads.flame at FLAME {year}, or state the codes' year in "
            "the column 'flame_version'"
        )
    return year


def require_flame_track(track: Track, head: HeadModel, target: str) -> None:
    """Raise `UserError` if the track's head is not FLAME."""
    check_head(track, head.name, head.version)
    if head.name != "flame":
        raise UserError(
            f"{target} holds FLAME's parameters, the subject's head is '{head.name}'; write "
            "'flame' in the column 'head' and track the clip again"
        )


def flame_year(head: HeadModel) -> str:
    """FLAME release of the head model, "2020" or "2023"."""
    return head.version.split("-", 1)[0]


def resize_codes(codes: np.ndarray, count: int) -> np.ndarray:
    """(..., n) codes -> (..., count) float64: zero-padded or truncated."""
    out = np.zeros((*codes.shape[:-1], count))
    kept = min(count, codes.shape[-1])
    out[..., :kept] = codes[..., :kept]
    return out


def truncation_error_mm(head: HeadModel, track: Track, n_shape: int, n_exp: int) -> float:
    """Largest vertex error of truncating the codes, millimeters."""
    shape = head.shape_basis[..., n_shape:].astype(np.float64) @ track.shape[n_shape:]
    lost = np.linalg.norm(shape, axis=-1).max(initial=0)
    basis = head.expression_basis[..., n_exp:].reshape(-1, max(track.exp.shape[1] - n_exp, 0))
    for exp in track.exp[:, n_exp:]:
        moved = (basis @ exp).reshape(-1, 3) + shape
        lost = max(lost, np.linalg.norm(moved, axis=-1).max())
    return 1000 * float(lost)
