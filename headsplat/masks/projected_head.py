"""Projection of the tracked head mesh into frames: part labels, skin, lower rim, and lips."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from headsplat.camera import project
from headsplat.gaussians.deform.codes import posed_vertices
from headsplat.gaussians.raster.triangles import rasterize_triangles
from headsplat.heads.model import HeadModel
from headsplat.heads.skinning import HeadGeometry
from headsplat.runtime.errors import UserError
from headsplat.track import read_track

NOTHING, HEAD, NECK = 0, 1, 2
_BATCH = 16


@dataclass(frozen=True)
class ProjectedHead:
    """The projected mesh of one frame.

    Attributes:
        parts: (height, width) uint8 label of the nearest surface: NOTHING, HEAD or NECK.
        face: (height, width) bool, facial skin without scalp, eyes and neck.
        boundary: (n, 2) float32 px, front half of the mesh's lower rim, from left to right.
        lips: (m, 2) float32 px, vertices of the lips.
        mouth_level: y of the mouth's center in px.
    """

    parts: np.ndarray
    face: np.ndarray
    boundary: np.ndarray
    lips: np.ndarray
    mouth_level: float


class HeadProjector:
    """Projects the tracked head into the frames of a clip.

    Args:
        head: the model the track was made with.
        track: `track.npz`.

    Raises:
        UserError: the track was made with another head, or is damaged.
    """

    def __init__(self, head: HeadModel, track: Path) -> None:
        self._track = read_track(track, head)
        self.ids: list[int] = self._track.ids.tolist()
        self.height, self.width = self._track.height, self._track.width
        self._geometry = HeadGeometry(head)
        self._boundary = head.regions["boundary"]
        self._lips = head.regions["lips"]
        low = np.zeros(len(head.template), bool)
        low[head.regions["neck"]] = low[self._boundary] = True
        # Index 0 is for face -1, which means no surface.
        part_of_face = np.where(low[head.faces].all(1), NECK, HEAD)
        self._part = np.r_[NOTHING, part_of_face].astype(np.uint8)
        skin = np.zeros(len(head.template), bool)
        skin[head.regions["face"]] = True
        for name in ("lips", "eye_region", "left_eyeball", "right_eyeball"):
            skin[head.regions[name]] = False
        self._skin = np.r_[False, skin[head.faces].all(1)]

    def frames(self, ids: Sequence[int], scale: float) -> Iterator[ProjectedHead]:
        """Project the frames `ids`, in this order, to images of `scale` times the track's size."""
        row = {frame: k for k, frame in enumerate(self.ids)}
        missing = [frame for frame in ids if frame not in row]
        if missing:
            raise UserError(f"the track lacks frames {missing[:10]}; track the clip again")
        width, height = round(self.width * scale), round(self.height * scale)
        for first in range(0, len(ids), _BATCH):
            rows = np.array([row[frame] for frame in ids[first : first + _BATCH]])
            points = self._project(rows, scale)
            faces, _ = rasterize_triangles(
                points, self._geometry.faces, width, height, cull_backfaces=True
            )
            for face, vertices in zip(faces.numpy(), points.numpy(), strict=True):
                rim = vertices[self._boundary]
                front = rim[rim[:, 2] <= np.median(rim[:, 2]), :2]
                lips = vertices[self._lips, :2]
                yield ProjectedHead(
                    self._part[face + 1],
                    self._skin[face + 1],
                    front[np.argsort(front[:, 0], kind="stable")],
                    lips,
                    float(lips[:, 1].mean()),
                )

    def _project(self, rows: np.ndarray, scale: float) -> torch.Tensor:
        frames = self._track[rows].frames()
        vertices = posed_vertices(
            self._geometry, self._track.identity(), frames.code.vector, trunk=frames.trunk
        )
        return project(vertices, frames.rotation, frames.translation, frames.intrinsics * scale)
