"""Cholesky factorisation and solves of symmetric block-tridiagonal systems, batched.

A temporal term of second order couples a frame with the next two; with two frames a block the
matrix becomes block-tridiagonal, and its factor costs time and memory linear in the clip.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class BandedFactor:
    """Lower Cholesky factor: diagonal blocks (B, K, m, m), blocks below them (B, K-1, m, m)."""

    diagonal: Tensor
    below: Tensor

    def half_solve(self, right: Tensor) -> Tensor:
        """L^-1 right for (B, K, m, c); L^-1 A is what Schur complements are made of."""
        rows: list[Tensor] = []
        for k in range(right.shape[1]):
            row = right[:, k]
            if k:
                row = row - self.below[:, k - 1] @ rows[-1]
            rows.append(torch.linalg.solve_triangular(self.diagonal[:, k], row, upper=False))
        return torch.stack(rows, 1)

    def back_solve(self, half: Tensor) -> Tensor:
        """L^-T half for (B, K, m, c)."""
        rows: list[Tensor] = []
        for k in reversed(range(half.shape[1])):
            row = half[:, k]
            if rows:
                row = row - self.below[:, k].mT @ rows[-1]
            rows.append(torch.linalg.solve_triangular(self.diagonal[:, k].mT, row, upper=True))
        return torch.stack(rows[::-1], 1)


def factorise(diagonal: Tensor, below: Tensor) -> BandedFactor:
    """Factor the matrix with the given blocks.

    Args:
        diagonal: (B, K, m, m) symmetric blocks.
        below: (B, K-1, m, m), block k couples row block k+1 with column block k.

    Raises:
        torch.linalg.LinAlgError: the matrix is not positive definite.
    """
    factors: list[Tensor] = []
    coupled: list[Tensor] = []
    for k in range(diagonal.shape[1]):
        block = diagonal[:, k]
        if k:
            lower = torch.linalg.solve_triangular(factors[-1], below[:, k - 1].mT, upper=False).mT
            coupled.append(lower)
            block = block - lower @ lower.mT
        factors.append(torch.linalg.cholesky(block))
    bands = torch.stack(coupled, 1) if coupled else below
    return BandedFactor(torch.stack(factors, 1), bands)


def pair_blocks(diagonal: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Blocks of two frames from blocks of one and diagonal couplings.

    Args:
        diagonal: (B, T, p, p), T even.
        first: (B, T-1, p), the diagonal of the block that couples frames t and t+1.
        second: (B, T-2, p), likewise t and t+2.

    Returns:
        (B, T/2, 2p, 2p) and (B, T/2-1, 2p, 2p) for `factorise`.
    """
    batch, frames, size, _ = diagonal.shape
    count = frames // 2
    blocks = diagonal.new_zeros(batch, count, 2 * size, 2 * size)
    blocks[..., :size, :size] = diagonal[:, 0::2]
    blocks[..., size:, size:] = diagonal[:, 1::2]
    inner = torch.diag_embed(first[:, 0::2])
    blocks[..., size:, :size] = inner
    blocks[..., :size, size:] = inner
    below = diagonal.new_zeros(batch, count - 1, 2 * size, 2 * size)
    below[..., :size, :size] = torch.diag_embed(second[:, 0::2])
    below[..., :size, size:] = torch.diag_embed(first[:, 1::2])
    below[..., size:, size:] = torch.diag_embed(second[:, 1::2])
    return blocks, below
