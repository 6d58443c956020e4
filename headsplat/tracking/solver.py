"""Levenberg-Marquardt over a whole clip, with the shared unknowns eliminated.

The normal equations have an arrow shape: one block per frame, tied to its neighbors by the
temporal term, and one border for identity and focal length. The frames' part is factored as a
band, the border by its Schur complement (Triggs et al. 2000, "Bundle adjustment: a modern
synthesis"). Bounds are kept by projection: an unknown at its bound whose gradient points outward
is held there for the step (Bertsekas 1982).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from headsplat.runtime.heartbeat import beat
from headsplat.tracking.banded import BandedFactor, cholesky, factorize, pair_blocks
from headsplat.tracking.layout import Layout, State
from headsplat.tracking.parallel import map_threads
from headsplat.tracking.priors import INDEPENDENT_FRAMES, Priors, Smoothness
from headsplat.tracking.terms import Frozen, Terms

# Frames whose Jacobians are in memory at one time: what fits a core's cache; what fills a GPU.
BATCH, GPU_BATCH = 32, 1024
DAMPING_START, DAMPING_LEAST, DAMPING_MOST = 1e-4, 1e-8, 1e6


@dataclass
class Normal:
    """Gauss-Newton matrices at a state.

    frame (N, P, P), border (N, P, F), shared (F, F), frame_gradient (N, P), shared_gradient (F,)
    for F free shared unknowns, frozen weights per batch, and the cost there.
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
    """State of an unfinished solve, from which it can resume."""

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

    def batches(self) -> list[slice]:
        """Rows of `frames` that are evaluated together."""
        step = GPU_BATCH if self.frames.is_cuda else BATCH
        return [slice(low, low + step) for low in range(0, len(self.frames), step)]

    def linearize(self, state: State, outlier: float, free: int) -> Normal:
        """Normal equations at `state`.

        Args:
            state: of the solver's frames.
            outlier: where residuals lose their pull, in standard deviations.
            free: how many of the shared unknowns, from the first, are solved for.
        """
        size, count = self.layout.frame_size, len(self.frames)
        new = state.frame.new_empty
        normal = Normal(
            new(count, size, size), new(count, size, free), new(free, free),
            new(count, size), new(free), [], 0.0,
        )  # fmt: skip

        def batch(rows: slice) -> tuple[Frozen, Tensor, Tensor, Tensor]:
            data = self.terms.linearize(state.part(rows), self.frames[rows], outlier, free)
            own, common = data.jacobian[..., :size], data.jacobian[..., size:]
            matrix = own.mT @ data.jacobian
            normal.frame[rows] = matrix[..., :size]
            normal.border[rows] = matrix[..., size:]
            normal.frame_gradient[rows] = (own.mT @ data.values[..., None]).squeeze(-1)
            flat = common.flatten(0, 1)
            shared, gradient = flat.T @ flat, flat.T @ data.values.flatten()
            return data.frozen, data.cost.sum(), shared.double(), gradient.double()

        parts = list(map_threads(batch, self.batches(), self.frames.is_cuda))
        normal.frozen, costs, shared, gradients = map(list, zip(*parts, strict=True))
        normal.shared, normal.shared_gradient = sum(shared), sum(gradients)
        self._add_priors(normal, state, free)
        normal.cost = float(sum(costs) + self._prior_cost(state))
        return normal

    def _add_priors(self, normal: Normal, state: State, free: int) -> None:
        priors = self.priors
        away = state.frame - priors.mean
        normal.frame += priors.precision
        normal.frame_gradient += away @ priors.precision
        precision = self.shared_weight * priors.shared_precision[:free]
        normal.shared += precision[:, :free]
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
        """Cost at `state` with the weights of a linearization."""

        def batch(pair: tuple[slice, Frozen]) -> Tensor:
            rows, weights = pair
            part = state.part(rows)
            return self.terms.cost(part, self.frames[rows], weights, outlier).sum()

        pairs = list(zip(self.batches(), frozen, strict=True))
        parts = map_threads(batch, pairs, self.frames.is_cuda)
        return float(sum(parts, self._prior_cost(state)))

    def held(self, normal: Normal, state: State) -> Tensor:
        """(N, P) bool: at a bound, and the gradient would push beyond."""
        gradient = normal.frame_gradient
        low = (state.frame <= self.priors.lower) & (gradient > 0)
        return low | ((state.frame >= self.priors.upper) & (gradient < 0))

    def solve(self, normal: Normal, held: Tensor, damping: float) -> tuple[Tensor, Tensor, Tensor]:
        """Step of the damped normal equations.

        Factored in float32 after scaling to a unit diagonal: the step is then right to about five
        digits, and the next linearization starts from exact residuals anyway.

        Returns:
            frame step (N, P), step of the free shared unknowns, and their reduced matrix (the
            inverse of their posterior covariance, for `damping` 0).
        """
        move = (~held).to(normal.frame.dtype)
        blocks = normal.frame * move[:, :, None] * move[:, None, :]
        diagonal = blocks.diagonal(dim1=1, dim2=2)
        diagonal += damping * diagonal + 1e-9 + (1 - move)
        if self.tied:
            center, near, far = self.smooth.bands()
            diagonal += center * move
        unit = diagonal.rsqrt()
        blocks = (blocks * unit[:, :, None] * unit[:, None, :]).float()
        right = torch.cat([normal.border, normal.frame_gradient[..., None]], -1)
        right = (right * (unit * move)[..., None]).float()
        unit = unit * move
        if self.tied:
            near, far = near * unit[1:] * unit[:-1], far * unit[2:] * unit[:-2]
            factor, right = _tied_factor(blocks, near.float(), far.float(), right)
        else:
            factor = factorize(blocks[:, None], blocks[:, None][:, :0])
            right = right[:, None]
        half = factor.half_solve(right)
        free = normal.border.shape[-1]
        border, gradient = half[..., :free], half[..., free:]
        step = normal.shared_gradient.new_zeros(0)
        reduced = normal.shared
        if free:
            flat = border.reshape(-1, free)
            shared = normal.shared + damping * torch.diag(normal.shared.diagonal())
            reduced = shared - (flat.T @ flat).double()
            target = normal.shared_gradient - (flat.T @ gradient.flatten()).double()
            step = torch.cholesky_solve(target[:, None], cholesky(reduced)).squeeze(1)
            gradient = gradient - (border @ step.float())[..., None]
        moved = factor.back_solve(gradient).reshape(-1, normal.frame.shape[1])
        # Where rounding left no factor, the step is none, lowers no cost, and damping grows.
        moved = -moved[: len(self.frames)] * unit
        return _finite(moved), _finite(-step), reduced

    def iterate(
        self,
        progress: Progress,
        iterations: int,
        outlier: float,
        free: int,
        tolerance: float = 1e-5,
        after: Callable[[Progress], None] | None = None,
    ) -> Progress:
        """Up to `iterations` accepted steps; ends early once the cost hardly falls.

        Args:
            progress: where to start.
            iterations: the last iteration's number.
            outlier: see `linearize`.
            free: see `linearize`.
            tolerance: relative fall of the cost that counts as none.
            after: called after every step, to keep the state.
        """
        while not progress.finished:
            beat("solve, iteration", progress.iteration, iterations)
            normal = self.linearize(progress.state, outlier, free)
            held = self.held(normal, progress.state)
            better = self._search(progress, normal, held, outlier, free)
            if better is None:
                progress = replace(progress, cost=normal.cost, finished=True)
            else:
                fall = (normal.cost - better.cost) / max(abs(normal.cost), 1e-12)
                better.iteration = progress.iteration + 1
                # A step cut short by damping falls little wherever it is.
                settled = fall < tolerance and better.damping < progress.damping
                better.finished = better.iteration >= iterations or settled
                progress = better
            if after is not None:
                after(progress)
        return progress

    def _search(
        self, progress: Progress, normal: Normal, held: Tensor, outlier: float, free: int
    ) -> Progress | None:
        """The first damping, growing, whose step lowers the cost."""
        damping = progress.damping
        while damping < DAMPING_MOST:
            beat(f"a step for {len(self.frames)} frames, damping {damping:.0e}")
            frame_step, step, _ = self.solve(normal, held, damping)
            shared_step = torch.zeros_like(progress.state.shared)
            shared_step[:free] = step
            state = progress.state.moved(self.layout, frame_step, shared_step)
            state.frame.clamp_(self.priors.lower, self.priors.upper)
            cost = self.cost(state, normal.frozen, outlier)
            if cost < normal.cost:
                if damping == progress.damping:
                    damping = max(damping / 8, DAMPING_LEAST)
                return Progress(state, damping, 0, cost)
            damping *= 10
        return None


def _tied_factor(
    blocks: Tensor, near: Tensor, far: Tensor, right: Tensor
) -> tuple[BandedFactor, Tensor]:
    """Factor of the frames' band, two frames a block, and the right side cut likewise."""
    if len(blocks) % 2:
        eye = torch.eye(blocks.shape[1], dtype=blocks.dtype, device=blocks.device)
        blocks, right = torch.cat([blocks, eye[None]]), _pad(right)
        near, far = _pad(near), _pad(far)
    bands = pair_blocks(blocks[None], near[None], far[None])
    return factorize(*bands), right.reshape(1, len(right) // 2, -1, right.shape[-1])


def _finite(step: Tensor) -> Tensor:
    return torch.nan_to_num(step, nan=0.0, posinf=0.0, neginf=0.0)


def _pad(rows: Tensor) -> Tensor:
    """One more row of zeros."""
    return torch.cat([rows, torch.zeros_like(rows[:1])])
