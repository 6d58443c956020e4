"""Cholesky factorization and solves of symmetric block-tridiagonal systems, batched.

A second-order temporal term couples a frame with the next two. With two frames per block the matrix
is block-tridiagonal. Blocks are eliminated by cyclic reduction (Heller 1976): every other block at
once, then every other remaining one. This is a reordered Cholesky factorization, linear in time and
memory. A GPU processes whole levels, log2 of the number of blocks.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from headsplat.tracking.parallel import map_threads, thread_slices


@dataclass(frozen=True)
class _Level:
    """Factors of one level of the elimination of the odd blocks.

    lower (B, k, m, m): factors of the odd blocks; left (B, k, m, m) and right (B, r, m, m):
    L^-1 times their couplings to the even blocks before and after (the last odd block may have
    none after).
    """

    lower: Tensor
    left: Tensor
    right: Tensor


@dataclass(frozen=True)
class BandedFactor:
    """Factor of a block-tridiagonal matrix: the levels of the elimination, then the last block."""

    levels: list[_Level]
    last: Tensor

    def half_solve(self, right: Tensor) -> Tensor:
        """L^-1 right for (B, K, m, c), rows in the order of elimination.

        L^-1 A gives Schur complements, which do not depend on the order of rows.
        """
        rows: list[Tensor] = []
        for level in self.levels:
            solved = _triangular(level.lower, right[:, 1::2])
            after = level.right.shape[1]
            right = right[:, 0::2].clone()
            right[:, : solved.shape[1]] -= level.left.mT @ solved
            right[:, 1 : 1 + after] -= level.right.mT @ solved[:, :after]
            rows.append(solved)
        return torch.cat([*rows, _triangular(self.last, right)], 1)

    def back_solve(self, half: Tensor) -> Tensor:
        """L^-T half for (B, K, m, c) from `half_solve`; rows in the order of the matrix."""
        sizes = [level.lower.shape[1] for level in self.levels]
        *parts, last = half.split([*sizes, 1], 1)
        known = _transposed(self.last, last)
        for level, part in zip(reversed(self.levels), reversed(parts), strict=True):
            count, after = part.shape[1], level.right.shape[1]
            part = part - level.left @ known[:, :count]
            part[:, :after] -= level.right @ known[:, 1 : 1 + after]
            rows = half.new_empty(len(half), count + known.shape[1], *half.shape[2:])
            rows[:, 0::2], rows[:, 1::2] = known, _transposed(level.lower, part)
            known = rows
        return known


def factorize(diagonal: Tensor, below: Tensor) -> BandedFactor:
    """Factor the matrix with the given blocks.

    A matrix that is not positive definite gives an invalid factor without an error, because
    checking would synchronize with the GPU. Callers must check the solution.

    Args:
        diagonal: (B, K, m, m) symmetric blocks.
        below: (B, K-1, m, m), block k couples row block k+1 with column block k.
    """
    levels = []
    while diagonal.shape[1] > 1:
        level, diagonal, below = _reduce(diagonal, below)
        levels.append(level)
    return BandedFactor(levels, _spread(cholesky, diagonal))


def _reduce(diagonal: Tensor, below: Tensor) -> tuple[_Level, Tensor, Tensor]:
    """Eliminate the odd blocks; returns their factors and the reduced system of the even blocks."""
    lower = _spread(cholesky, diagonal[:, 1::2])
    left = _triangular(lower, below[:, 0::2])
    after = below[:, 1::2]
    right = _triangular(lower[:, : after.shape[1]], after.mT)
    count, reach = left.shape[1], right.shape[1]
    kept = diagonal[:, 0::2].clone()
    kept[:, :count] -= _spread(_gram, left)
    kept[:, 1 : 1 + reach] -= _spread(_gram, right)
    return _Level(lower, left, right), kept, -_spread(_product, right, left[:, :reach])


def cholesky(blocks: Tensor) -> Tensor:
    """Lower Cholesky factors without checking for failure (no device sync); see `factorize`."""
    return torch.linalg.cholesky_ex(blocks).L


def _gram(a: Tensor) -> Tensor:
    return a.mT @ a


def _product(a: Tensor, b: Tensor) -> Tensor:
    return a.mT @ b


def _solve_lower(lower: Tensor, right: Tensor) -> Tensor:
    return torch.linalg.solve_triangular(lower, right, upper=False)


def _solve_upper(lower: Tensor, right: Tensor) -> Tensor:
    return torch.linalg.solve_triangular(lower.mT, right, upper=True)


def _triangular(lower: Tensor, right: Tensor) -> Tensor:
    return _spread(_solve_lower, lower, right)


def _transposed(lower: Tensor, right: Tensor) -> Tensor:
    return _spread(_solve_upper, lower, right)


def _spread(work: Callable[..., Tensor], *arrays: Tensor) -> Tensor:
    """Apply `work` to (B, k, ...) arrays, with the B k small matrices split over threads."""
    batch, count = arrays[0].shape[:2]
    flat = [array.flatten(0, 1) for array in arrays]
    parts = thread_slices(len(flat[0]), flat[0].is_cuda)
    done = list(map_threads(lambda rows: work(*(a[rows] for a in flat)), parts, flat[0].is_cuda))
    whole = done[0] if len(done) == 1 else torch.cat(done)
    return whole.unflatten(0, (batch, count))


def pair_blocks(diagonal: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Blocks of two frames from blocks of one and diagonal couplings.

    Args:
        diagonal: (B, T, p, p), T even.
        first: (B, T-1, p), the diagonal of the block that couples frames t and t+1.
        second: (B, T-2, p), likewise t and t+2.

    Returns:
        (B, T/2, 2p, 2p) and (B, T/2-1, 2p, 2p) for `factorize`.
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
