"""Mouth values of a head model: the part of a frame code that speech moves."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headsplat.frame_code import FrameCode
from headsplat.heads.model import HeadModel
from headsplat.rotations import (
    axis_angle_from_matrix,
    matrix_from_6d,
    matrix_from_axis_angle,
    matrix_to_6d,
)
from headsplat.track import Track

JAW = 3  # the last values: axis-angle of the jaw, radians
# Motion of the lips below this share of the largest is left to the rest of the face.
_DAMPING = 0.02
_MOVED = ("mouth", "jaw", "cheek", "nose", "tongue")


@dataclass(frozen=True, eq=False)
class MouthColumns:
    """Which expression coefficients belong to the mouth.

    Attributes:
        rows: (k,) int64, indices of coefficients; values are (n, k + 3) with the jaw at the end.
        low: (k,) lowest coefficient.
        high: (k,) highest.
        named: the head names its shapes, so that the others do not move the mouth.
    """

    rows: np.ndarray
    low: np.ndarray
    high: np.ndarray
    named: bool

    @classmethod
    def of(cls, head: HeadModel) -> "MouthColumns":
        """Of a head: lips, jaw, cheeks and nose by name, or all where shapes have no names."""
        named = bool(head.expression_names)
        count = head.expression_basis.shape[2]
        rows = [
            row for row in range(count)
            if not named or head.expression_names[row].startswith(_MOVED)
        ]  # fmt: skip
        rows = np.array(rows, np.int64)
        if head.expression_range is None:
            low, high = np.full(len(rows), -np.inf), np.full(len(rows), np.inf)
        else:
            low, high = head.expression_range[rows].T.astype(np.float64)
        return cls(rows, low, high, named)

    def values(self, condition: Tensor) -> np.ndarray:
        """(N, C) frame codes -> (N, k + 3) float64."""
        code = FrameCode(condition.double())
        jaw = axis_angle_from_matrix(matrix_from_6d(code.jaw))
        return torch.cat([code.exp[:, torch.from_numpy(self.rows)], jaw], 1).numpy()

    def put(self, condition: Tensor, values: np.ndarray) -> Tensor:
        """(N, C) codes with the mouth replaced by (N, k + 3) values, within the head's range."""
        code = FrameCode(condition)
        exp = code.exp.clone()
        mouth = values[:, :-JAW].clip(self.low, self.high)
        exp[:, torch.from_numpy(self.rows)] = torch.from_numpy(mouth).to(exp.dtype)
        jaw = matrix_from_axis_angle(torch.from_numpy(values[:, -JAW:].astype(np.float64)))
        return code.replace(exp=exp, jaw=matrix_to_6d(jaw).to(exp.dtype)).vector


def with_mouth(
    condition: Tensor, mouth: np.ndarray, columns: MouthColumns, head: HeadModel, track: Track
) -> Tensor:
    """Frame codes of a face with another mouth.

    On heads with named shapes the mouth's are replaced. On others (FLAME) each shape moves lips and
    brows together: the mouth's coefficients are taken, plus the part of the face's deviation from
    its mean that leaves the lips where they are.

    Args:
        condition: (n, C) float64 codes of the face.
        mouth: (n, K) mouth values.
        columns: which codes they are.
        head: the head model.
        track: the subject's, for its mean.
    """
    made = columns.put(condition, mouth)
    if columns.named:
        return made
    mean = torch.from_numpy(track.exp.astype("f8")).mean(0)
    rest = (FrameCode(condition).exp - mean) @ _without_lips(head)
    return FrameCode(made).replace(exp=FrameCode(made).exp + rest).vector


def _without_lips(head: HeadModel) -> Tensor:
    """(E, E) symmetric: removes the part of coefficients that moves the lips."""
    lips = head.expression_basis[head.regions["lips"]].reshape(-1, len(head.expression_std))
    values, vectors = torch.linalg.eigh(torch.from_numpy(lips.T.astype("f8") @ lips))
    moved = values / (values + _DAMPING**2 * values[-1])
    return torch.eye(len(values), dtype=torch.float64) - (vectors * moved) @ vectors.T
