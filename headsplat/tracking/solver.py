"""Levenberg-Marquardt over a whole clip, with the shared unknowns eliminated.

The normal equations have an arrow structure: one block per frame, coupled to its neighbors by the
temporal term, and a border for identity and focal length. The frame part is factored as a band, the
border by its Schur complement (Triggs et al. 2000, "Bundle adjustment: a modern synthesis"). Bounds
use projection: an unknown at its bound whose gradient points outward is fixed for the step
(Bertsekas 1982).
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
from headsplat.tracking.terms import FrozenWeights, Terms

# Batch sizes of Jacobians: fits the cache of a CPU core, and fills a GPU.
BATCH, GPU_BATCH = 32, 1024
DAMPING_START, DAMPING_LEAST, DAMPING_MOST = 1e-4, 1e-8, 1e6


@dataclass
class NormalEquations:
    """Gauss-Newton matrices at a state.

    frame (N, P, P), border (N, P, F), shared (F, F), frame_gradient (N, P), shared_gradient (F,)
    for F free shared unknowns; frozen weights per batch; and the cost.
    """

    frame: Tensor
    border: Tensor
    shared: Tensor
    frame_gradient: Tensor
    shared_gradient: Tensor
    frozen: list[FrozenWeights]
    cost: float


@dataclass
class SolveProgress:
    """Resumable state of a solve."""

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
        frames: (N,) long, the frames to solve.
        linked: (N - 1,) bool, whether a frame and the next are coupled in time. All False solves
            the frames independently, except for shared unknowns.
    """

    def __init__(self, terms: Terms, priors: Priors, frames: Tensor, linked: Tensor) -> None:
        self.terms, self.priors, self.frames = terms, priors, frames
        self.layout: Layout = terms.layout
        self.tied = bool(linked.any())
        self.smooth = Smoothness(self.layout, priors, linked)
        # Shared unknowns are weighted as if only this many frames were independent.
        count = float((terms.weight[frames] > 0).sum())
        self.shared_weight = max(count / INDEPENDENT_FRAMES, 1.0)

    def batches(self) -> list[slice]:
        """Slices of `frames` that are evaluated together."""
        step = GPU_BATCH if self.frames.is_cuda else BATCH
        return [slice(low, low + step) for low in range(0, len(self.frames), step)]

    def linearize(self, state: State, outlier: float, free: int) -> NormalEquations:
        """Normal equations at `state`.

        Args:
            state: state of the solver's frames.
            outlier: scale of the robust loss, in standard deviations.
            free: number of leading shared unknowns to solve for.
        """
        size, count = self.layout.frame_size, len(self.frames)
        new = state.frame.new_empty
        normal = NormalEquations(
            new(count, size, size), new(count, size, free), new(free, free),
            new(count, size), new(free), [], 0.0,
        )  # fmt: skip

        def batch(rows: slice) -> tuple[FrozenWeights, Tensor, Tensor, Tensor]:
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

    def _add_priors(self, normal: NormalEquations, state: State, free: int) -> None:
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

    def cost(self, state: State, frozen: list[FrozenWeights], outlier: float) -> float:
        """Cost at `state` with the weights of a linearization."""

        def batch(pair: tuple[slice, FrozenWeights]) -> Tensor:
            rows, weights = pair
            part = state.part(rows)
            return self.terms.cost(part, self.frames[rows], weights, outlier).sum()

        pairs = list(zip(self.batches(), frozen, strict=True))
        parts = map_threads(batch, pairs, self.frames.is_cuda)
        return float(sum(parts, self._prior_cost(state)))

    def held(self, normal: NormalEquations, state: State) -> Tensor:
        """(N, P) bool: unknowns at a bound whose gradient points outward."""
        gradient = normal.frame_gradient
        low = (state.frame <= self.priors.lower) & (gradient > 0)
        return low | ((state.frame >= self.priors.upper) & (gradient < 0))

    def solve(
        self, normal: NormalEquations, held: Tensor, damping: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Step of the damped normal equations.

        Factored in float32 after scaling to a unit diagonal, which gives about five digits. The
        next linearization starts from exact residuals.

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
        # If the factorization failed by rounding, the step is zero, so damping grows.
        moved = -moved[: len(self.frames)] * unit
        return _finite(moved), _finite(-step), reduced

    def iterate(
        self,
        progress: SolveProgress,
        iterations: int,
        outlier: float,
        free: int,
        tolerance: float = 1e-5,
        after: Callable[[SolveProgress], None] | None = None,
    ) -> SolveProgress:
        """Run up to `iterations` accepted steps; stops early when the cost has converged.

        Args:
            progress: where to start.
            iterations: number of the last iteration.
            outlier: see `linearize`.
            free: see `linearize`.
            tolerance: relative decrease of the cost that counts as convergence.
            after: called after every step, to save the state.
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
                # A heavily damped step lowers the cost little, converged or not.
                settled = fall < tolerance and better.damping < progress.damping
                better.finished = better.iteration >= iterations or settled
                progress = better
            if after is not None:
                after(progress)
        return progress

    def _search(
        self,
        progress: SolveProgress,
        normal: NormalEquations,
        held: Tensor,
        outlier: float,
        free: int,
    ) -> SolveProgress | None:
        """Increase damping until a step lowers the cost."""
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
                return SolveProgress(state, damping, 0, cost)
            damping *= 10
        return None


def _tied_factor(
    blocks: Tensor, near: Tensor, far: Tensor, right: Tensor
) -> tuple[BandedFactor, Tensor]:
    """Factor of the frames' band with two frames per block, and the right side in blocks."""
    if len(blocks) % 2:
        eye = torch.eye(blocks.shape[1], dtype=blocks.dtype, device=blocks.device)
        blocks, right = torch.cat([blocks, eye[None]]), _pad(right)
        near, far = _pad(near), _pad(far)
    bands = pair_blocks(blocks[None], near[None], far[None])
    return factorize(*bands), right.reshape(1, len(right) // 2, -1, right.shape[-1])


def _finite(step: Tensor) -> Tensor:
    return torch.nan_to_num(step, nan=0.0, posinf=0.0, neginf=0.0)


def _pad(rows: Tensor) -> Tensor:
    """Append a row of zeros."""
    return torch.cat([rows, torch.zeros_like(rows[:1])])
