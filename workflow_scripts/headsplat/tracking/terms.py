"""Data terms of the track: weighted residual rows of every frame and what they cost.

Three kinds of rows, all in standard deviations of their noise: the landmarks; the offsets between
upper and lower lids and between the inner lips, which are known better than the points
themselves; and the sliding jaw line's distance from the detected face oval.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headsplat.heads.landmarks import (
    EYELID_DISTANCE_PAIRS,
    LIP_DISTANCE_PAIRS,
    MEDIAPIPE_GROUPS,
)
from headsplat.tracking import priors
from headsplat.tracking.basis import LandmarkBasis
from headsplat.tracking.layout import Layout, State
from headsplat.tracking.observations import Observations
from headsplat.tracking.projection import Projector

# The iris of a closed eye is a guess: no weight below the first opening, full above the second
# (fractions of the inter-ocular distance).
IRIS_OPENING = (0.03, 0.07)


@dataclass(frozen=True)
class Frozen:
    """What one linearisation holds fixed: visibility weights, and lines of the jaw contour."""

    landmark: Tensor  # [n, L]
    pairs: Tensor  # [n, D]
    contour: Tensor  # [n, 17]
    base: Tensor  # [n, 17, 2]
    normal: Tensor  # [n, 17, 2]


@dataclass(frozen=True)
class Rows:
    """Residual rows: values (n, M), jacobian (n, M, P + Q) or None, cost (n,)."""

    values: Tensor
    jacobian: Tensor | None
    cost: Tensor


class Terms:
    """The data terms of one clip.

    Args:
        basis: landmark-restricted head.
        layout: of the unknowns.
        observed: detections.
    """

    def __init__(self, basis: LandmarkBasis, layout: Layout, observed: Observations) -> None:
        device = basis.lids.device

        def tensor(array: np.ndarray) -> Tensor:
            return torch.as_tensor(array, dtype=torch.float64, device=device)

        self.layout, self.basis = layout, basis
        self.moved = torch.zeros_like(basis.lids[..., 0])
        self.projector = Projector(basis, layout)
        self.size = observed.size
        self.points = tensor(observed.points[:, basis.index])
        self.weight = tensor(np.where(observed.seen, observed.confidence, 0.0))
        measured = priors.measure_noise(observed.points, observed.seen, observed.linked)
        noise = priors.landmark_noise(basis, measured / observed.size)
        self.noise = tensor(noise * observed.size)
        self.upper, self.lower, self.pair_noise = self._pairs(tensor)
        self.gate = tensor(_iris_gate(basis, observed))
        self.oval = tensor(observed.points[:, list(MEDIAPIPE_GROUPS["oval"])])

    def _pairs(self, tensor) -> tuple[Tensor, Tensor, Tensor]:
        where = {int(number): row for row, number in enumerate(self.basis.index)}
        lids = [pair for pairs in EYELID_DISTANCE_PAIRS.values() for pair in pairs]
        noises = [priors.LIP_DISTANCE_NOISE] * len(LIP_DISTANCE_PAIRS)
        noises += [priors.EYELID_DISTANCE_NOISE] * len(lids)
        kept = [
            (where[a], where[b], noise)
            for (a, b), noise in zip([*LIP_DISTANCE_PAIRS, *lids], noises, strict=True)
            if a in where and b in where
        ]
        rows = np.array(kept, dtype=np.float64).reshape(-1, 3)
        long = [torch.as_tensor(rows[:, k], dtype=torch.long) for k in (0, 1)]
        device = self.points.device
        return long[0].to(device), long[1].to(device), tensor(rows[:, 2]) * self.size

    def move(self, offsets: Tensor) -> None:
        """Shift the landmarks of the basis; `moved` is their shift so far."""
        self.basis.shift(offsets)
        self.moved = self.moved + offsets

    def freeze(self, state: State, frames: Tensor) -> Frozen:
        """Visibility and contour lines at `state`, the state of the frames numbered `frames`."""
        projected = self.projector.landmarks(state, jacobian=False)
        span = priors.FACING_FULL - priors.FACING_NONE
        seen = _smooth_step((projected.facing - priors.FACING_NONE) / span)
        weight = self.weight[frames, None]
        visible = (seen + priors.HIDDEN_WEIGHT).clamp_max(1.0) * self.gate[frames] * weight
        pairs = torch.minimum(visible[:, self.upper], visible[:, self.lower])
        contour = self.projector.contour(state, jacobian=False)
        base, normal = _nearest_lines(contour.pixels, self.oval[frames])
        return Frozen(visible, pairs, weight.expand(-1, contour.pixels.shape[1]), base, normal)

    def rows(
        self, state: State, frames: Tensor, frozen: Frozen, outlier: float, jacobian: bool
    ) -> Rows:
        """Weighted residuals of the frames numbered `frames`, whose state is `state`.

        With `jacobian`, values and jacobian carry the square roots of the robust weights, so that
        J'J and J'r are the Gauss-Newton matrices of the robust cost (Geman-McClure).
        """
        projected = self.projector.landmarks(state, jacobian)
        offset = projected.pixels - self.points[frames]
        pair_offset = offset[:, self.upper] - offset[:, self.lower]
        pieces = [
            (offset / self.noise[:, None], frozen.landmark),
            (pair_offset / self.pair_noise[:, None], frozen.pairs),
        ]
        columns = []
        if jacobian:
            full = projected.jacobian
            pair = full[:, self.upper] - full[:, self.lower]
            columns = [full / self.noise[:, None, None], pair / self.pair_noise[:, None, None]]
        line = self.projector.contour(state, jacobian)
        scale = priors.CONTOUR_NOISE * self.size
        distance = ((line.pixels - frozen.base) * frozen.normal).sum(-1, keepdim=True)
        pieces.append((distance / scale, frozen.contour))
        if jacobian:
            along = (line.jacobian * frozen.normal[..., None]).sum(-2, keepdim=True)
            columns.append(along / scale)
        cost = state.frame.new_zeros(len(state.frame))
        values, scaled = [], []
        for k, (value, weight) in enumerate(pieces):
            square = value.square().sum(-1)
            pull = outlier**2 / (outlier**2 + square)
            cost = cost + 0.5 * (weight * square * pull).sum(-1)
            root = weight.sqrt() * pull
            values.append((value * root[..., None]).flatten(1))
            if jacobian:
                scaled.append((columns[k] * root[..., None, None]).flatten(1, 2))
        return Rows(torch.cat(values, 1), torch.cat(scaled, 1) if jacobian else None, cost)

    def offsets(self, state: State, frames: Tensor, outlier: float, weight: float) -> Tensor:
        """Where the detector's points lie on this head, beside where the model has them.

        Least squares for one displacement of each landmark on the resting head, all frames' other
        unknowns held.

        Args:
            state: of the frames numbered `frames`.
            frames: (n,) long.
            outlier: see `rows`.
            weight: of the prior, in frames that count as independent.

        Returns:
            (L, 3) metres.
        """
        frozen = self.freeze(state, frames)
        projected = self.projector.landmarks(state, jacobian=True)
        away = (self.points[frames] - projected.pixels) / self.noise[:, None]
        pull = outlier**2 / (outlier**2 + away.square().sum(-1))
        root = frozen.landmark.sqrt() * pull
        matrix = projected.by_offset / self.noise[:, None, None] * root[..., None, None]
        normal = torch.einsum("nlij,nlik->ljk", matrix, matrix)
        right = torch.einsum("nlij,nli->lj", matrix, away * root[..., None])
        prior = weight / priors.OFFSET_STD**2
        normal.diagonal(dim1=1, dim2=2).add_(prior)
        return torch.linalg.solve(normal, right - prior * self.moved)


def _smooth_step(x: Tensor) -> Tensor:
    x = x.clamp(0, 1)
    return x * x * (3 - 2 * x)


def _iris_gate(basis: LandmarkBasis, observed: Observations) -> np.ndarray:
    """(N, L) 1 everywhere but at irises of eyes that are closing."""
    gate = np.ones((len(observed.ids), len(basis.index)))
    low, high = IRIS_OPENING
    for side, pairs in EYELID_DISTANCE_PAIRS.items():
        upper, lower = np.array(pairs).T
        gap = observed.points[:, upper] - observed.points[:, lower]
        opening = np.linalg.norm(gap, axis=-1).mean(1) / observed.size
        share = np.clip((opening - low) / (high - low), 0, 1)
        gate[:, basis.groups[f"{side}_iris"]] = share[:, None]
    return gate


def _nearest_lines(points: Tensor, polygon: Tensor) -> tuple[Tensor, Tensor]:
    """Nearest point of a closed polygon and the unit normal there: (n, C, 2) each.

    Args:
        points: (n, C, 2).
        polygon: (n, E, 2) corners in order.
    """
    start = polygon[:, None]
    edge = polygon.roll(-1, 1)[:, None] - start
    length = edge.square().sum(-1).clamp_min(1e-12)
    share = (((points[:, :, None] - start) * edge).sum(-1) / length).clamp(0, 1)
    foot = start + share[..., None] * edge
    nearest = (points[:, :, None] - foot).square().sum(-1).argmin(-1, keepdim=True)
    frames = torch.arange(len(points), device=points.device)[:, None, None]
    rows = torch.arange(points.shape[1], device=points.device)[None, :, None]
    base = foot[frames, rows, nearest].squeeze(2)
    along = edge[frames, 0, nearest].squeeze(2)
    normal = torch.stack([-along[..., 1], along[..., 0]], -1)
    return base, torch.nn.functional.normalize(normal, dim=-1)
