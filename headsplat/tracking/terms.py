"""Landmark terms of the tracking energy: weighted residuals and Jacobians per frame.

Three kinds of rows, all in standard deviations of their noise: landmarks; offsets between the inner
lips and between the lids, which are more precise than the points; and the distance of the sliding
jaw line from the detected face oval. Offsets are measured along the line through the eyes and
across it. Closing lids also slide along their edge, differently in each head model, so only the
offset across measures closure.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headsplat.heads.landmarks import (
    EYELID_DISTANCE_PAIRS,
    INTER_OCULAR,
    LIP_DISTANCE_PAIRS,
    MEDIAPIPE_GROUPS,
)
from headsplat.tracking import priors
from headsplat.tracking.basis import SECOND, LandmarkBasis
from headsplat.tracking.layout import Layout, State
from headsplat.tracking.observations import Observations
from headsplat.tracking.projection import ContourView, LandmarkView, Projector
from headsplat.tracking.score_terms import ScoreTerms

# The iris of a closed eye is a guess of the detector: no weight below the first eye opening, full
# weight above the second (fractions of the inter-ocular distance).
IRIS_OPENING = (0.03, 0.07)


@dataclass(frozen=True)
class FrozenWeights:
    """Constants of one linearization: visibility weights, and lines of the jaw contour."""

    landmark: Tensor  # [n, L]
    pairs: Tensor  # [n, D]
    contour: Tensor  # [n, 17]
    base: Tensor  # [n, 17, 2]
    normal: Tensor  # [n, 17, 2]


@dataclass(frozen=True)
class ResidualRows:
    """Residual rows in float32: values (n, M), jacobian (n, M, P + free); cost (n,) float64.

    Both carry the square roots of the robust weights, so that J'J and J'r are the Gauss-Newton
    matrices of the robust cost (Geman-McClure).
    """

    values: Tensor
    jacobian: Tensor
    cost: Tensor
    frozen: FrozenWeights


@dataclass(frozen=True)
class _Piece:
    """Residuals of one kind (n, R, d) in standard deviations, and their weights (n, R)."""

    value: Tensor
    weight: Tensor

    def robust(self, outlier: float) -> tuple[Tensor, Tensor]:
        """Cost of each frame (n,) and the factor of each row (n, R)."""
        square = self.value.square().sum(-1)
        pull = outlier**2 / (outlier**2 + square)
        return 0.5 * (self.weight * square * pull).sum(-1), self.weight.sqrt() * pull


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
        second = basis.index >= SECOND
        points = observed.points[:, np.where(second, 0, basis.index)]
        gate = _iris_gate(basis, observed)
        measured = np.zeros(len(basis.index))
        measured[~second] = _noise(observed, observed.points)[basis.index[~second]]
        if second.any():
            rows = basis.index[second] - SECOND
            points[:, second] = observed.second[:, rows, :2]
            gate[:, second] = observed.second[:, rows, 2]
            measured[second] = _noise(observed, observed.second[..., :2])[rows]
        self.points = tensor(points)
        self.weight = tensor(np.where(observed.seen, observed.confidence, 0.0))
        self.axes = tensor(_eye_axes(observed))  # [N, 2, 2]
        self.gate = tensor(gate)
        oval = observed.points[:, list(MEDIAPIPE_GROUPS["oval"])]
        self.oval = tensor(oval)
        self.upper, self.lower, pairs = self._pairs()
        # Temporally white noise is measured; the table holds the systematic part.
        white = tensor(measured)[:, None]
        table = tensor(priors.landmark_noise(basis) * self.size)
        self.noise = torch.hypot(white, table)  # [L, 2] along and across
        # White noise of both ends adds up; the systematic part is in the table.
        both = torch.hypot(white[self.upper], white[self.lower])
        self.pair_noise = torch.hypot(both, tensor(pairs * self.size))  # [D, 2]
        white = float(np.median(_noise(observed, oval)))
        self.contour_noise = float(np.hypot(white, priors.CONTOUR_NOISE * self.size))
        self.scores = None
        if observed.scores is not None:
            lips = [side[: len(LIP_DISTANCE_PAIRS)] for side in (self.upper, self.lower)]
            self.scores = ScoreTerms(basis, layout, observed, self.weight, *lips)

    def _pairs(self) -> tuple[Tensor, Tensor, np.ndarray]:
        where = {int(number): row for row, number in enumerate(self.basis.index)}
        lids = [pair for pairs in EYELID_DISTANCE_PAIRS.values() for pair in pairs]
        noises = [(priors.LIP_DISTANCE_NOISE,) * 2] * len(LIP_DISTANCE_PAIRS)
        noises += [(np.inf, priors.EYELID_DISTANCE_NOISE)] * len(lids)
        kept = [
            (where[a], where[b], *noise)
            for (a, b), noise in zip([*LIP_DISTANCE_PAIRS, *lids], noises, strict=True)
            if a in where and b in where
        ]
        rows = np.array(kept, dtype=np.float64).reshape(-1, 4)
        long = [torch.as_tensor(rows[:, k], dtype=torch.long) for k in (0, 1)]
        return long[0].to(self.points.device), long[1].to(self.points.device), rows[:, 2:]

    def move(self, offsets: Tensor) -> None:
        """Shift the landmarks of the basis; `moved` is their shift so far."""
        self.basis.shift(offsets)
        self.moved = self.moved + offsets

    def calibrate(self, state: State, frames: Tensor) -> None:
        """Take the constants of the scores, if there are any, from a state of `frames`."""
        if self.scores is not None:
            self.scores.calibrate(state, frames)

    def linearize(self, state: State, frames: Tensor, outlier: float, free: int) -> ResidualRows:
        """Residual rows of `frames` at `state`.

        Args:
            state: (n frames).
            frames: (n,) long.
            outlier: scale of the robust loss, in standard deviations.
            free: number of leading shared unknowns that have columns.
        """
        view, line = self.projector.landmarks(state), self.projector.contour(state)
        frozen = self._freeze(view, line, frames)
        pieces = self._pieces(state, view, line.pixels, frames, frozen)
        costs, gains = zip(*(piece.robust(outlier) for piece in pieces), strict=True)
        values = [
            (p.value * g[..., None]).flatten(1).float() for p, g in zip(pieces, gains, strict=True)
        ]
        point, pair, contour = gains[:3]
        sizes = [value.shape[1] for value in values]
        width = self.layout.frame_size + free
        jacobian = values[0].new_empty(len(frames), sum(sizes), width)
        own, apart, edge, *others = jacobian.split(sizes, 1)
        own, apart = own.unflatten(1, (-1, 2)), apart.unflatten(1, (-1, 2))
        gain = point[..., None] / self.noise  # [n, L, 2]
        view.columns(own, gain[..., None] * self.axes[frames, None])
        # Pair rows are differences of existing rows, with another gain.
        pair = (pair[..., None] / self.pair_noise).float()[..., None]
        gain = gain.float()[..., None].clamp_min(1e-20)
        torch.mul(own[:, self.upper], pair / gain[:, self.upper], out=apart)
        apart.addcmul_(own[:, self.lower], pair / gain[:, self.lower], value=-1)
        line.columns(edge, frozen.normal * (contour / self.contour_noise)[..., None])
        if self.scores is not None:
            lips, eyes = (rows.unflatten(1, (-1, 2)) for rows in others)
            self.scores.columns(lips, eyes, view, gains[3:])
        return ResidualRows(torch.cat(values, 1), jacobian, sum(costs), frozen)

    def cost(self, state: State, frames: Tensor, frozen: FrozenWeights, outlier: float) -> Tensor:
        """(n,) cost at `state` with the weights of a linearization."""
        view, line = self.projector.landmarks(state), self.projector.contour(state)
        pieces = self._pieces(state, view, line.pixels, frames, frozen)
        return sum(piece.robust(outlier)[0] for piece in pieces)

    def _freeze(self, view: LandmarkView, line: ContourView, frames: Tensor) -> FrozenWeights:
        span = priors.FACING_FULL - priors.FACING_NONE
        seen = _smooth_step((view.facing - priors.FACING_NONE) / span)
        weight = self.weight[frames, None]
        visible = (seen + priors.HIDDEN_WEIGHT).clamp_max(1.0) * self.gate[frames] * weight
        pairs = torch.minimum(visible[:, self.upper], visible[:, self.lower])
        base, normal = _nearest_lines(line.pixels, self.oval[frames])
        share = priors.contour_share(line.rotation, self.contour_noise / self.size)
        return FrozenWeights(visible, pairs, weight * share, base, normal)

    def _pieces(
        self,
        state: State,
        view: LandmarkView,
        line: Tensor,
        frames: Tensor,
        frozen: FrozenWeights,
    ) -> list[_Piece]:
        offset = (view.pixels - self.points[frames]) @ self.axes[frames].mT
        apart = offset[:, self.upper] - offset[:, self.lower]
        distance = ((line - frozen.base) * frozen.normal).sum(-1, keepdim=True)
        pieces = [
            _Piece(offset / self.noise, frozen.landmark),
            _Piece(apart / self.pair_noise, frozen.pairs),
            _Piece(distance / self.contour_noise, frozen.contour),
        ]
        if self.scores is not None:
            pieces += [_Piece(*rows) for rows in self.scores.residuals(state, view, frames)]
        return pieces

    def offsets(self, state: State, frames: Tensor, outlier: float, weight: float) -> Tensor:
        """Offsets between the detector's points and the model's landmarks on this head.

        Least squares for one displacement per landmark on the neutral head, with all other unknowns
        fixed.

        Args:
            state: of the frames numbered `frames`.
            frames: (n,) long.
            outlier: see `linearize`.
            weight: weight of the prior, in independent frames.

        Returns:
            (L, 3) meters.
        """
        view, line = self.projector.landmarks(state), self.projector.contour(state)
        frozen = self._freeze(view, line, frames)
        axes = self.axes[frames]
        away = (self.points[frames] - view.pixels) @ axes.mT / self.noise
        pull = outlier**2 / (outlier**2 + away.square().sum(-1))
        root = frozen.landmark.sqrt() * pull
        gain = root[..., None] / self.noise
        matrix = axes[:, None] @ view.by_offset() * gain[..., None]
        normal = torch.einsum("nlij,nlik->ljk", matrix, matrix)
        right = torch.einsum("nlij,nli->lj", matrix, away * root[..., None])
        prior = weight / priors.OFFSET_STD**2
        normal.diagonal(dim1=1, dim2=2).add_(prior)
        return torch.linalg.solve(normal, right - prior * self.moved)


def _smooth_step(x: Tensor) -> Tensor:
    x = x.clamp(0, 1)
    return x * x * (3 - 2 * x)


def _noise(observed: Observations, points: np.ndarray) -> np.ndarray:
    return priors.measure_noise(points, observed.seen, observed.linked)


def _eye_axes(observed: Observations) -> np.ndarray:
    """(N, 2, 2) unit rows along the line through the outer eye corners and across it."""
    line = observed.points[:, INTER_OCULAR[1]] - observed.points[:, INTER_OCULAR[0]]
    length = np.linalg.norm(line, axis=1, keepdims=True)
    along = np.where(length > 0, line / np.maximum(length, 1e-9), [1.0, 0.0])
    return np.stack([along, np.stack([-along[:, 1], along[:, 0]], 1)], 1)


def _iris_gate(basis: LandmarkBasis, observed: Observations) -> np.ndarray:
    """(N, L) weight of each point: 1, but lower for irises of closing eyes."""
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
    """Nearest point of a closed polygon, and the unit normal of the line of `points`: (n, C, 2).

    The normal is the model's. Normals of a noisy polygon would resist sliding along the line, which
    is free when nearest points are recomputed.

    Args:
        points: (n, C, 2) in order.
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
    padded = torch.cat([points[:, :1], points, points[:, -1:]], 1)
    along = padded[:, 2:] - padded[:, :-2]
    normal = torch.stack([-along[..., 1], along[..., 0]], -1)
    return base, torch.nn.functional.normalize(normal, dim=-1)
