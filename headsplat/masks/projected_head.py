"""Projection of the tracked head mesh into frames: part labels, skin, lower rim, and lips."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from headsplat.camera import project, vector_from_matrix
from headsplat.gaussians.raster.triangles import rasterize_triangles
from headsplat.heads.model import HeadModel
from headsplat.heads.skinning import HeadGeometry
from headsplat.rotations import matrix_from_6d
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import read_npz

NOTHING, HEAD, NECK = 0, 1, 2
_TRACK_ARRAYS = (
    "ids", "shape", "exp", "jaw", "eyes", "eyelids", "R", "t", "K", "img_size", "head_name",
)  # fmt: skip
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
        UserError: the track was made with another head, or lacks an array.
    """

    def __init__(self, head: HeadModel, track: Path) -> None:
        arrays = read_npz(track, _TRACK_ARRAYS)
        if str(arrays["head_name"]) != head.name:
            raise UserError(
                f"{track}: was made with the head '{arrays['head_name']}', not '{head.name}'; "
                "track the clip again"
            )
        self.ids: list[int] = arrays["ids"].tolist()
        self.height, self.width = (int(n) for n in arrays["img_size"])
        names = set(_TRACK_ARRAYS) - {"ids", "img_size", "head_name"}
        self._track = {name: torch.from_numpy(arrays[name]) for name in names}
        self._trunk = _trunk(arrays)
        self._intrinsics = vector_from_matrix(self._track["K"])
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
            rows = torch.tensor([row[frame] for frame in ids[first : first + _BATCH]])
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

    def _project(self, rows: torch.Tensor, scale: float) -> torch.Tensor:
        t = self._track
        vertices = self._geometry.vertices(
            t["shape"],
            t["exp"][rows],
            matrix_from_6d(t["jaw"][rows]),
            matrix_from_6d(t["eyes"][rows].reshape(-1, 2, 6)),
            t["eyelids"][rows],
            trunk=None if self._trunk is None else self._trunk[rows],
        )
        return project(vertices, t["R"][rows], t["t"][rows], self._intrinsics * scale)


def _trunk(arrays: Mapping[str, np.ndarray]) -> torch.Tensor | None:
    """(N, 3, 4) trunk to head, or None of a track without a trunk."""
    if "trunk_R" not in arrays or "trunk_t" not in arrays:
        return None
    back = torch.from_numpy(arrays["R"]).mT
    moved = torch.from_numpy(arrays["trunk_t"] - arrays["t"])[..., None]
    return torch.cat([back @ torch.from_numpy(arrays["trunk_R"]), back @ moved], -1).float()
