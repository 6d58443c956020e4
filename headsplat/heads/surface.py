"""Closest points on triangle meshes."""

import numpy as np


def closest_points(
    vertices: np.ndarray, faces: np.ndarray, queries: np.ndarray, neighbors: int = 48
) -> tuple[np.ndarray, np.ndarray]:
    """The point of some triangles nearest to each query.

    Args:
        vertices: (V, 3).
        faces: (F, 3) corners, F >= 1; only these triangles are looked at.
        queries: (Q, 3).
        neighbors: number of candidate triangles per query, by distance of centers; suits meshes
            with triangles of similar size.

    Returns:
        (Q,) rows of `faces` and (Q, 3) barycentric weights, float64.
    """
    corners = np.asarray(vertices, dtype=np.float64)[faces]
    centers = corners.mean(1)
    rows = np.empty(len(queries), dtype=np.int64)
    weights = np.empty((len(queries), 3))
    count = min(neighbors, len(faces))
    for number, query in enumerate(np.asarray(queries, dtype=np.float64)):
        near = np.argpartition(((centers - query) ** 2).sum(1), count - 1)[:count]
        near.sort()
        candidate = _closest_barycentric(corners[near], query)
        points = (corners[near] * candidate[..., None]).sum(1)
        best = ((points - query) ** 2).sum(1).argmin()
        rows[number], weights[number] = near[best], candidate[best]
    return rows, weights


def _closest_barycentric(corners: np.ndarray, query: np.ndarray) -> np.ndarray:
    """(n, 3, 3) triangles, (3,) -> (n, 3) weights of each triangle's point nearest to `query`."""
    count = len(corners)
    # Candidates: the foot point within the plane, if inside, and the foot points on three edges.
    options = np.zeros((4, count, 3))
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    offset = query - corners[:, 0]
    a, b, c = (first * first).sum(1), (first * second).sum(1), (second * second).sum(1)
    d, e = (first * offset).sum(1), (second * offset).sum(1)
    area = np.maximum(a * c - b * b, 1e-30)
    v, w = (c * d - b * e) / area, (a * e - b * d) / area
    options[0] = np.stack([1 - v - w, v, w], 1)
    for edge in range(3):
        start, stop = corners[:, edge], corners[:, (edge + 1) % 3]
        along = stop - start
        length = np.maximum((along * along).sum(1), 1e-30)
        t = np.clip(((query - start) * along).sum(1) / length, 0, 1)
        options[edge + 1, :, edge] = 1 - t
        options[edge + 1, :, (edge + 1) % 3] = t
    points = np.einsum("onk,nkc->onc", options, corners)
    distance = ((points - query) ** 2).sum(2)
    distance[0, (options[0] < 0).any(1)] = np.inf
    return options[distance.argmin(0), np.arange(count)]
