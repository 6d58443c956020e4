"""Triangle meshes of the ICT head: topology, smoothing, cutting, and its UV atlas."""

import heapq
from dataclasses import dataclass

import numpy as np

from headsplat.heads.ict import parts

# ICT's tiles: the skin of the face; the back of the head with mouth and eye sockets in its corners;
# gums and tongue; teeth; and one tile per eyeball, which lies on that of the face.
# name -> (parts, tile's left edge in ICT's u, left, bottom and side of its square in the atlas)
TILES: dict[str, tuple[tuple[str, ...], float, tuple[float, float, float]]] = {
    "face": (("face",), 0.0, (0.0, 0.38, 0.62)),
    "head": (("head", "mouth_socket", "left_socket", "right_socket"), 1.0, (0.62, 0.62, 0.38)),
    "gums": (("gums",), 2.0, (0.62, 0.38, 0.24)),
    "teeth": (("teeth",), 3.0, (0.64, 0.0, 0.36)),
    "left_eyeball": (("left_eyeball",), 0.0, (0.0, 0.06, 0.32)),
    "right_eyeball": (("right_eyeball",), 0.0, (0.32, 0.06, 0.32)),
}
MARGIN = 0.004


def triangulate(
    polygons: np.ndarray, texture_polygons: np.ndarray, vertices: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Split quads along their shorter diagonal, orientation kept.

    Args:
        polygons: (P, 4), the fourth corner of a triangle is -1.
        texture_polygons: (P, 4) likewise.
        vertices: (V, 3).

    Returns:
        (F, 3) i32 triangles, (F, 3) i32 texture triangles, (F,) i64 polygon of each triangle.
    """
    quad = polygons[:, 3] >= 0
    a, b, c, d = (vertices[polygons[:, k]] for k in range(4))
    other = quad & (((a - c) ** 2).sum(1) > ((b - d) ** 2).sum(1))
    first = np.where(other[:, None], (0, 1, 3), (0, 1, 2))
    second = np.where(other[:, None], (1, 2, 3), (0, 2, 3))
    owner = np.concatenate([np.arange(len(polygons)), np.flatnonzero(quad)])
    picks = np.concatenate([first, second[quad]])
    order = np.argsort(owner, kind="stable")
    owner, picks = owner[order], picks[order]
    return (
        polygons[owner[:, None], picks],
        texture_polygons[owner[:, None], picks],
        owner,
    )


class Graph:
    """Vertices joined by the edges of triangles."""

    def __init__(self, faces: np.ndarray, vertices: np.ndarray) -> None:
        self.vertices = vertices
        edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
        edges = np.unique(np.sort(edges, axis=1), axis=0)
        both = np.concatenate([edges, edges[:, ::-1]])
        self.source, self.target = both[np.argsort(both[:, 0], kind="stable")].T
        self.start = np.searchsorted(self.source, np.arange(len(vertices) + 1))

    def around(self, vertex: int) -> np.ndarray:
        """Vertices that share an edge with `vertex`."""
        return self.target[self.start[vertex] : self.start[vertex + 1]]

    def path(self, start: int, stop: int) -> list[int]:
        """Shortest way along edges, both ends included."""
        best, previous, queue = {start: 0.0}, {}, [(0.0, start)]
        while queue:
            length, vertex = heapq.heappop(queue)
            if vertex == stop:
                break
            if length > best[vertex]:
                continue
            around = self.around(vertex)
            steps = np.linalg.norm(self.vertices[around] - self.vertices[vertex], axis=1)
            for neighbor, step in zip(around.tolist(), steps.tolist(), strict=True):
                total = length + step
                if total < best.get(neighbor, np.inf):
                    best[neighbor], previous[neighbor] = total, vertex
                    heapq.heappush(queue, (total, neighbor))
        way = [stop]
        while way[-1] != start:
            way.append(previous[way[-1]])
        return way[::-1]

    def loop(self, corners: np.ndarray) -> np.ndarray:
        """Closed shortest way through the given vertices in order; each vertex once."""
        ways = zip(corners.tolist(), np.roll(corners, -1).tolist(), strict=True)
        return np.array([v for a, b in ways for v in self.path(a, b)[:-1]])

    def fill(self, seeds: np.ndarray, barrier: np.ndarray) -> np.ndarray:
        """(V,) bool: flood fill from `seeds`, bounded by `barrier` (inclusive)."""
        inside = np.zeros(len(self.vertices), dtype=bool)
        blocked = np.zeros_like(inside)
        blocked[barrier] = True
        inside[seeds] = True
        front = inside & ~blocked
        while front.any():
            reached = np.zeros_like(inside)
            reached[self.target[front[self.source]]] = True
            front = reached & ~inside & ~blocked
            inside |= reached
        return inside

    def grow(self, mask: np.ndarray, rings: int) -> np.ndarray:
        """(V,) bool grown by `rings` edges."""
        for _ in range(rings):
            mask = mask.copy()
            mask[self.target[mask[self.source]]] = True
        return mask

    def smooth(self, values: np.ndarray, rounds: int, fixed: np.ndarray) -> np.ndarray:
        """(V,) values, `rounds` times halfway towards the mean of the neighbors, but `fixed`."""
        degree = np.maximum(np.diff(self.start), 1)
        for _ in range(rounds):
            total = np.bincount(self.source, values[self.target], minlength=len(values))
            values = np.where(fixed, values, 0.5 * (values + total / degree))
        return values


def rim(faces: np.ndarray) -> np.ndarray:
    """Ids of the vertices on edges that only one triangle has."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    unique, count = np.unique(np.sort(edges, axis=1), axis=0, return_counts=True)
    return np.unique(unique[count == 1])


@dataclass(frozen=True)
class Renumbering:
    """Renumbered mesh after some triangles were dropped.

    Attributes:
        kept: old vertex ids in the new order.
        faces: (F', 3) i32 in new numbers.
        new: (V,) i64 old id -> new id, -1 where dropped.
    """

    kept: np.ndarray
    faces: np.ndarray
    new: np.ndarray


def drop_unused(faces: np.ndarray, count: int) -> Renumbering:
    """Renumber `faces` so that only used ones of `count` rows are left, order kept."""
    kept = np.unique(faces)
    new = np.full(count, -1, dtype=np.int64)
    new[kept] = np.arange(len(kept))
    return Renumbering(kept, new[faces].astype(np.int32), new)


def build_atlas(
    texture: np.ndarray, texture_faces: np.ndarray, polygon: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """One UV atlas from ICT's unit tiles: every tile gets a square of its own.

    Args:
        texture: (T, 2) ICT's coordinates.
        texture_faces: (F, 3) rows of `texture`.
        polygon: (F,) ICT's polygon that each triangle belongs to.

    Returns:
        (U, 2) f32 coordinates in [0, 1] and (F, 3) i32 rows of them.
    """
    moved, faces, count = [], np.empty_like(texture_faces), 0
    for names, origin, (left, bottom, side) in TILES.values():
        mine = np.zeros(len(polygon), dtype=bool)
        for name in names:
            span = parts.PARTS[name].polygons
            mine |= (polygon >= span.start) & (polygon < span.stop)
        # A coordinate that two tiles share is copied, because each places it elsewhere.
        used, rows = np.unique(texture_faces[mine], return_inverse=True)
        inner = side - 2 * MARGIN
        local = (texture[used] - (origin, 0.0)) * inner + (left + MARGIN, bottom + MARGIN)
        moved.append(local)
        faces[mine] = rows.reshape(-1, 3) + count
        count += len(used)
    return np.concatenate(moved).astype(np.float32), faces
