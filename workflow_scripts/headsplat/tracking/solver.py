"""Levenberg-Marquardt over a whole clip; the unknowns that all frames share are eliminated.

The normal equations have an arrow shape: one block per frame, tied to its neighbours by the
temporal term, and one border for identity and focal length. The frames' part is factored as a
band, the border by its Schur complement (Triggs et al. 2000, "Bundle adjustment: a modern
synthesis"). Bounds are kept by projection: an unknown at its bound whose gradient points outward
is held there for the step (Bertsekas 1982).
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from headsplat.cli import available_threads
from headsplat.tracking.banded import factorise, pair_blocks
from headsplat.tracking.layout import Layout, State
from headsplat.tracking.priors import INDEPENDENT_FRAMES, Priors
from headsplat.tracking.temporal import Smoothness
from headsplat.tracking.terms import Frozen, Terms

Item = TypeVar("Item")
Result = TypeVar("Result")
# Frames whose Jacobians are in memory at one time.
BATCH = 32
DAMPING_START, DAMPING_LEAST, DAMPING_MOST = 1e-4, 1e-8, 1e6


@dataclass
class Normal:
    """Gauss-Newton matrices at a state.

    frame (N, P, P), border (N, P, Q), shared (Q, Q), frame_gradient (N, P), shared_gradient (Q,),
    frozen weights per batch, and the cost there.
    """

    frame: Tensor
    border: Tensor
    shared: Tensor
    frame_gradient: Tensor
    shared_gradient: Tensor
    frozen: list[Frozen]
    cost: float


@dataclass
class Progress:
    """Where a solve stands; enough to go on from."""

    state: State
    damping: float = DAMPING_START
    iteration: int = 0
    cost: float = float("nan")
    finished: bool = False


class ClipSolver:
    """Normal equations and steps for some frames of a clip.

    Args:
        terms: data terms of the clip.
        priors: of the clip.
        frames: (N,) long, which frames are solved.
        linked: (N - 1,) bool, which of these and the next are tied in time; all False solves the
            frames independently (but for what they share).
    """

    def __init__(self, terms: Terms, priors: Priors, frames: Tensor, linked: Tensor) -> None:
        self.terms, self.priors, self.frames = terms, priors, frames
        self.layout: Layout = terms.layout
        self.tied = bool(linked.any())
        self.smooth = Smoothness(self.layout, priors, linked)
        # What frames share is counted as if only so many of them were independent.
        count = float((terms.weight[frames] > 0).sum())
        self.shared_weight = max(count / INDEPENDENT_FRAMES, 1.0)

    def batches(self) -> list[Tensor]:
        """Rows of `frames` that are evaluated together."""
        return list(torch.arange(len(self.frames), device=self.frames.device).split(BATCH))

    def linearise(self, state: State, outlier: float, free: Tensor) -> Normal:
        """Normal equations at `state`.

        Args:
            state: of the solver's frames.
            outlier: where residuals lose their pull, in standard deviations.
            free: (Q,) bool, the shared unknowns that are solved for.
        """
        size = self.layout.frame_size
        count = len(self.frames)
        chosen = torch.cat(
            [torch.arange(size, device=free.device), size + free.nonzero().squeeze(1)]
        )
        n_free = len(chosen) - size
        new = state.frame.new_zeros
        normal = Normal(
            new(count, size, size), new(count, size, n_free), new(n_free, n_free),
            new(count, size), new(n_free), [], 0.0,
        )  # fmt: skip

        def batch(rows: Tensor) -> tuple[Frozen, Tensor, Tensor, Tensor]:
            part, numbers = state.part(rows), self.frames[rows]
            frozen = self.terms.freeze(part, numbers)
            data = self.terms.rows(part, numbers, frozen, outlier, jacobian=True)
            jacobian = data.jacobian if n_free == len(free) else data.jacobian[..., chosen]
            own, common = jacobian[..., :size], jacobian[..., size:]
            normal.frame[rows] = own.mT @ own
            normal.frame_gradient[rows] = (own.mT @ data.values[..., None]).squeeze(-1)
            normal.border[rows] = own.mT @ common
            flat = common.flatten(0, 1)
            return frozen, data.cost.sum(), flat.T @ flat, flat.T @ data.values.flatten()

        total = new(())
        for frozen, cost, matrix, gradient in self._each(batch, self.batches()):
            normal.frozen.append(frozen)
            normal.shared += matrix
            normal.shared_gradient += gradient
            total = total + cost
        self._add_priors(normal, state, free)
        normal.cost = float(total + self._prior_cost(state))
        return normal

    def _add_priors(self, normal: Normal, state: State, free: Tensor) -> None:
        priors = self.priors
        away = state.frame - priors.mean
        normal.frame += priors.precision
        normal.frame_gradient += away @ priors.precision
        precision = self.shared_weight * priors.shared_precision[free]
        normal.shared += precision[:, free]
        normal.shared_gradient += precision @ (state.shared - priors.shared_mean)
        if self.tied:
            normal.frame_gradient += self.smooth.gradient(state)

    def _prior_cost(self, state: State) -> Tensor:
        priors = self.priors
        away = state.frame - priors.mean
        shared = state.shared - priors.shared_mean
        cost = 0.5 * ((away @ priors.precision) * away).sum()
        cost = cost + 0.5 * self.shared_weight * (shared @ priors.shared_precision @ shared)
        return cost + self.smooth.cost(state) if self.tied else cost

    def cost(self, state: State, frozen: list[Frozen], outlier: float) -> float:
        """Cost at `state` with the weights of a linearisation."""

        def batch(pair: tuple[Tensor, Frozen]) -> Tensor:
            rows, weights = pair
            numbers = self.frames[rows]
            return self.terms.rows(state.part(rows), numbers, weights, outlier, False).cost.sum()

        pairs = list(zip(self.batches(), frozen, strict=True))
        return float(sum(self._each(batch, pairs), self._prior_cost(state)))

    def _each(self, work: Callable[[Item], Result], items: list[Item]) -> Iterator[Result]:
        """Results of `work` in order. Threads over batches, one for each: the matrices are too
        small to be shared out themselves, and waiting threads starve when the machine is busy.
        """
        if self.frames.is_cuda:
            yield from map(work, items)
            return
        with ThreadPoolExecutor(available_threads(), initializer=_one_thread) as pool:
            yield from pool.map(work, items)

    def held(self, normal: Normal, state: State) -> Tensor:
        """(N, P) bool: at a bound, and the gradient would push beyond."""
        gradient = normal.frame_gradient
        low = (state.frame <= self.priors.lower) & (gradient > 0)
        return low | ((state.frame >= self.priors.upper) & (gradient < 0))

    def solve(self, normal: Normal, held: Tensor, damping: float) -> tuple[Tensor, Tensor, Tensor]:
        """Step of the damped normal equations.

        Returns:
            frame step (N, P), step of the free shared unknowns, and their reduced matrix (the
            inverse of their posterior covariance, for `damping` 0).
        """
        move = (~held).to(normal.frame.dtype)
        blocks = normal.frame * move[:, :, None] * move[:, None, :]
        diagonal = blocks.diagonal(dim1=1, dim2=2)
        diagonal += damping * diagonal + 1e-9 + (1 - move)
        right = torch.cat([normal.border, normal.frame_gradient[..., None]], -1) * move[..., None]
        if self.tied:
            factor, right = self._tied_factor(blocks, right, move)
        else:
            factor = factorise(blocks[:, None], blocks[:, None][:, :0])
            right = right[:, None]
        half = factor.half_solve(right)
        n_free = normal.border.shape[-1]
        border, gradient = half[..., :n_free], half[..., n_free:]
        step = normal.shared_gradient.new_zeros(0)
        reduced = normal.shared
        if n_free:
            flat = border.reshape(-1, n_free)
            shared = normal.shared + damping * torch.diag(normal.shared.diagonal())
            reduced = shared - flat.T @ flat
            target = normal.shared_gradient - flat.T @ gradient.flatten()
            lower = torch.linalg.cholesky(reduced)
            step = torch.cholesky_solve(target[:, None], lower).squeeze(1)
            gradient = gradient - (border @ step)[..., None]
        moved = factor.back_solve(gradient).reshape(-1, normal.frame.shape[1])
        return -moved[: len(self.frames)] * move, -step, reduced

    def _tied_factor(self, blocks: Tensor, right: Tensor, move: Tensor):
        centre, near, far = self.smooth.bands()
        blocks = blocks + torch.diag_embed(centre * move)
        near, far = near * move[1:] * move[:-1], far * move[2:] * move[:-2]
        if len(blocks) % 2:
            eye = torch.eye(blocks.shape[1], dtype=blocks.dtype, device=blocks.device)
            blocks, right = torch.cat([blocks, eye[None]]), _pad(right)
            near, far = _pad(near), _pad(far)
        bands = pair_blocks(blocks[None], near[None], far[None])
        pairs = right.reshape(1, len(right) // 2, -1, right.shape[-1])
        return factorise(*bands), pairs

    def iterate(
        self,
        progress: Progress,
        iterations: int,
        outlier: float,
        free: Tensor,
        tolerance: float = 1e-5,
        after: Callable[[Progress], None] | None = None,
    ) -> Progress:
        """Up to `iterations` accepted steps; ends early once the cost hardly falls.

        Args:
            progress: where to start.
            iterations: the last iteration's number.
            outlier: see `linearise`.
            free: (Q,) bool, shared unknowns to solve for.
            tolerance: relative fall of the cost that counts as none.
            after: called after every step, to keep the state.
        """
        while not progress.finished:
            normal = self.linearise(progress.state, outlier, free)
            held = self.held(normal, progress.state)
            better = self._search(progress, normal, held, outlier, free)
            if better is None:
                progress = replace(progress, cost=normal.cost, finished=True)
            else:
                fall = (normal.cost - better.cost) / max(abs(normal.cost), 1e-12)
                better.iteration = progress.iteration + 1
                better.finished = better.iteration >= iterations or fall < tolerance
                progress = better
            if after is not None:
                after(progress)
        return progress

    def _search(
        self, progress: Progress, normal: Normal, held: Tensor, outlier: float, free: Tensor
    ) -> Progress | None:
        """The first damping, growing, whose step lowers the cost."""
        damping = progress.damping
        while damping < DAMPING_MOST:
            frame_step, step, _ = self.solve(normal, held, damping)
            shared_step = torch.zeros_like(progress.state.shared)
            shared_step[free] = step
            state = progress.state.moved(self.layout, frame_step, shared_step)
            state.frame.clamp_(self.priors.lower, self.priors.upper)
            cost = self.cost(state, normal.frozen, outlier)
            if cost < normal.cost:
                return Progress(state, max(damping / 8, DAMPING_LEAST), 0, cost)
            damping *= 10
        return None


def _pad(rows: Tensor) -> Tensor:
    """One more row of zeros."""
    return torch.cat([rows, torch.zeros_like(rows[:1])])


def _one_thread() -> None:
    torch.set_num_threads(1)
