"""Exact nearest neighbors by brute force in blocks: point sets here are tens of thousands."""

import torch
from torch import Tensor


def nearest(points: Tensor, queries: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` nearest of `points` to each query.

    Args:
        points: (N, 3).
        queries: (Q, 3).
        count: neighbors per query, at most N.

    Returns:
        (Q, count) squared distances in ascending order, and (Q, count) long indices.
    """
    # A block of distances stays below 2**22 numbers.
    block = max(1, 2**22 // max(1, len(points)))
    distances, indices = [], []
    for part in queries.split(block):
        square = torch.cdist(part, points, compute_mode="donot_use_mm_for_euclid_dist").square()
        best = square.topk(min(count, len(points)), dim=1, largest=False, sorted=True)
        distances.append(best.values)
        indices.append(best.indices)
    return torch.cat(distances), torch.cat(indices)


def mean_square_distance(points: Tensor, count: int = 3) -> Tensor:
    """(N, 3) -> (N,): mean squared distance to the `count` nearest OTHER points (3DGS's start)."""
    square, _ = nearest(points, points, count + 1)
    return square[:, 1:].mean(1)
