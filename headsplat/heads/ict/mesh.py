"""Topology and smoothing on triangle meshes: paths, fills, rims, diffusion, cutting."""

import heapq
from dataclasses import dataclass

import numpy as np


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
        """(V,) bool: what is reached from `seeds` without crossing `barrier` (itself included)."""
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
    """What is left of a mesh after some triangles were dropped.

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
