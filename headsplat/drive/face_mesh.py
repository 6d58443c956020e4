"""What the posed face of one person shows: lips, brows, and the openings of mouth and eyes."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from headsplat.frame_code import FrameCode
from headsplat.heads.landmarks import (
    EYELID_DISTANCE_PAIRS,
    LIP_DISTANCE_PAIRS,
    MEDIAPIPE_GROUPS,
    compact,
    pick,
    points,
)
from headsplat.heads.model import LandmarkSet
from headsplat.heads.skinning import HeadGeometry, SubjectGeometry
from headsplat.rotations import axis_angle_from_matrix, matrix_from_6d

# Points that expressions move, without those of the lids.
_MOVED = tuple(k for g in ("lips_outer", "lips_inner", "brows") for k in MEDIAPIPE_GROUPS[g])
_LIDS = tuple(EYELID_DISTANCE_PAIRS[side] for side in ("left", "right"))
# For heads without these landmarks: meters per radian of the jaw, and of open lids.
_JAW_LEVER, _EYE = 0.08, 0.01
_BATCH = 2048


class FaceMesh:
    """Landmarks of one person's posed face.

    Args:
        geometry: the head model, in float64.
        shape: (S,) identity.
    """

    def __init__(self, geometry: HeadGeometry, shape: Tensor) -> None:
        self.geometry = geometry
        known = geometry.model.landmarks["mediapipe"]
        moved = pick(known, _MOVED)
        eyes = pick(known, tuple(np.ravel(_LIDS)))
        ids, (self._moved, self._eyes) = compact(moved if len(moved.index) else known, eyes)
        self._subject = SubjectGeometry(geometry, shape.to(geometry.dtype), torch.from_numpy(ids))
        self._lips = _present(self._moved, LIP_DISTANCE_PAIRS)
        self._lids = [_present(self._eyes, pairs) for pairs in _LIDS]

    def points(self, codes: Tensor) -> Iterator[Tensor]:
        """(M, C) codes -> batches (b, L, 3) of the landmarks of lips and brows, meters."""
        for vertices in self._vertices(codes):
            yield points(vertices, self._moved)

    def opening(self, codes: Tensor) -> Tensor:
        """(M, C) codes -> (M,) opening of the inner lips along the head's y axis, meters.

        It is negative where the lips overlap.
        """
        if not self._lips:
            jaw = axis_angle_from_matrix(matrix_from_6d(FrameCode(codes).jaw))
            return _JAW_LEVER * jaw[:, 0]
        return torch.cat([_apart(batch, self._lips) for batch in self.points(codes)])

    def eyes(self, codes: Tensor) -> Tensor:
        """(M, C) codes -> (M, 2) openings of left and right eye along the head's y axis, meters.

        They are linear in the lids' codes, and negative where the lids overlap.
        """
        if not all(self._lids):
            return _EYE * (1 - FrameCode(codes).eyelids)
        batches = (points(vertices, self._eyes) for vertices in self._vertices(codes))
        return torch.cat(
            [torch.stack([_apart(b, pairs) for pairs in self._lids], 1) for b in batches]
        )

    def _vertices(self, codes: Tensor) -> Iterator[Tensor]:
        for part in codes.split(_BATCH):
            code = FrameCode(part)
            yield self._subject.vertices(code.exp, matrix_from_6d(code.joints), code.eyelids)


def _present(landmarks: LandmarkSet, pairs: tuple[tuple[int, int], ...]) -> list[tuple[int, int]]:
    """Rows of the pairs whose points the set has."""
    rows = {int(index): row for row, index in enumerate(landmarks.index)}
    return [(rows[a], rows[b]) for a, b in pairs if a in rows and b in rows]


def _apart(batch: Tensor, pairs: list[tuple[int, int]]) -> Tensor:
    """(b, L, 3) -> (b,) how far the first points of pairs lie above the second on average."""
    upper, lower = torch.tensor(pairs).T
    return (batch[:, upper, 1] - batch[:, lower, 1]).mean(1)
