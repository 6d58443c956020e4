"""Lips of a subject from frame codes: posed vertices, opening and width of the mouth."""

from dataclasses import dataclass

import numpy as np
import torch

from headsplat.frame_code import FrameCode
from headsplat.heads.landmarks import LIP_DISTANCE_PAIRS, compact, pick, points
from headsplat.heads.model import HeadModel, LandmarkSet
from headsplat.heads.skinning import HeadGeometry, SubjectGeometry
from headsplat.rotations import axis_angle_from_matrix, matrix_from_6d
from headsplat.runtime.errors import UserError

CORNERS = (78, 308)  # MediaPipe's inner corners of the mouth
MILLIMETERS = 1000.0
_BATCH = 512


class NoLips(UserError):
    """The head model lacks the landmarks by which lips are measured."""


@dataclass(frozen=True, eq=False)
class LipShapes:
    """Lips over N frames.

    Attributes:
        vertices: (N, n, 3) float32 mm in the head frame.
        opening: (N,) mm, mean distance of five pairs of inner lip points.
        width: (N,) mm, distance of the mouth's inner corners.
        jaw: (N,) radians, rotation of the jaw about +x.
    """

    vertices: np.ndarray
    opening: np.ndarray
    width: np.ndarray
    jaw: np.ndarray

    def rows(self, rows: np.ndarray | slice) -> "LipShapes":
        """Some of the frames."""
        return LipShapes(self.vertices[rows], self.opening[rows], self.width[rows], self.jaw[rows])


class Lips:
    """Evaluates the lips of one subject.

    Args:
        head: head model.
        shape: (S,) identity coefficients.

    Raises:
        NoLips: the head model lacks landmarks of the inner lips.
    """

    def __init__(self, head: HeadModel, shape: torch.Tensor) -> None:
        wanted = (*CORNERS, *(point for pair in LIP_DISTANCE_PAIRS for point in pair))
        inner = pick(head.landmarks["mediapipe"], wanted)
        if len(inner.index) < len(set(wanted)):
            raise NoLips(
                f"the head model {head.name} {head.version} lacks MediaPipe's landmarks of the "
                "inner lips, which speech needs; add them to the model"
            )
        ids, (inner,) = compact(inner)
        lips = np.asarray(head.regions["lips"], np.int64)
        self._lips = len(lips)
        self._inner: LandmarkSet = inner
        self._row = {int(point): row for row, point in enumerate(inner.index)}
        rows = torch.from_numpy(np.concatenate([lips, ids]))
        geometry = HeadGeometry(head)
        self._geometry = SubjectGeometry(geometry, shape.detach().cpu().float(), rows)

    def shapes(self, condition: torch.Tensor) -> LipShapes:
        """Lips of (N, C) frame codes."""
        parts = [self._batch(FrameCode(part.float())) for part in condition.split(_BATCH)]
        return LipShapes(*(np.concatenate(values) for values in zip(*parts, strict=True)))

    def _batch(self, code: FrameCode) -> tuple[np.ndarray, ...]:
        turns = matrix_from_6d(code.joints)
        posed = MILLIMETERS * self._geometry.vertices(code.exp, turns, code.eyelids)
        inner = points(posed[:, self._lips :], self._inner)
        upper, lower = (inner[:, [self._row[p] for p in side]]
                        for side in zip(*LIP_DISTANCE_PAIRS, strict=True))  # fmt: skip
        right, left = (inner[:, self._row[point]] for point in CORNERS)
        values = (
            posed[:, : self._lips],
            (upper - lower).norm(dim=-1).mean(1),
            (right - left).norm(dim=-1),
            axis_angle_from_matrix(turns[:, 0])[:, 0],
        )
        return tuple(value.numpy() for value in values)
