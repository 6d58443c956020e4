"""Photometric terms of the normal equations: observed minus predicted brightness."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from headsplat.tracking.layout import State
from headsplat.tracking.parallel import map_threads
from headsplat.tracking.photometric.color import Appearance, fit_appearance, fit_shade
from headsplat.tracking.photometric.images import sample_planes
from headsplat.tracking.photometric.surface import PATCHES, SurfacePoints
from headsplat.tracking.photometric.visibility import Visibility

# Batch sizes of frames: fits the cache of a CPU core, and fills a GPU.
BATCH, GPU_BATCH = 8, 128
# Prior of a patch's factor towards 1, relative to the weight of the data.
PATCH_PRIOR = 0.02
# Share of rows that count as independent, because errors of neighbors are correlated.
INDEPENDENT = 0.2
# Lower bound of the residual standard deviation of brightness.
FLOOR = 0.003
# Scales of the robust loss (Geman-McClure): of a point in standard deviations, of a patch in units
# of the usual mean square.
OUTLIER, PATCH_OUTLIER = 3.0, 4.0
# Residuals are clipped at this multiple of the clip's deviation in a point's deviation.
BOUND = 10.0
# Upper bound of held-out errors; larger ones are occluders and highlights.
MISS = 0.1


Result = TypeVar("Result")


@dataclass(frozen=True)
class Samples:
    """Sampled brightness of all points in all frames.

    Attributes:
        value: (N, M) brightness.
        slope: (N, M, 2) its derivative by pixels.
        weight: (N, M) 0 where hidden, outside the matte, or in a frame without a face.
        normal: (N, M, 3) in the camera's axes.
    """

    value: Tensor
    slope: Tensor
    weight: Tensor
    normal: Tensor


@dataclass(frozen=True)
class Residuals:
    """Residuals in standard deviations.

    residual (N, M), weight (N, M) robust, shade (N, M) over the deviation, deviation (M,).
    """

    residual: Tensor
    weight: Tensor
    shade: Tensor
    deviation: Tensor


@dataclass(frozen=True)
class Blocks:
    """Gauss-Newton blocks: frame (N, P, P), border (N, P, Q), shared (Q, Q), and gradients."""

    frame: Tensor
    border: Tensor
    shared: Tensor
    frame_gradient: Tensor
    shared_gradient: Tensor


class PhotometricTerms:
    """Photometric terms of some frames.

    Args:
        points: skin points of the head.
        visibility: of its mesh.
        planes: (N, 2, H, W) uint8 brightness and matte.
        center: principal point.
        trust: (N,) weight of each frame, 0 without a face.
        color: colors of the clip; None estimates them in every `fit`.

    Attributes:
        color: the given or last estimated colors.
        given: whether colors were given.
    """

    def __init__(
        self,
        points: SurfacePoints,
        visibility: Visibility,
        planes: Tensor,
        center: tuple[float, float],
        trust: Tensor,
        color: Appearance | None = None,
    ) -> None:
        self.points, self._visibility, self._planes = points, visibility, planes
        self._center = torch.tensor(center, device=points.device)
        self._trust = trust.float()
        self._members = one_hot(points.patch, PATCHES).T.float()
        self.color, self.given = color, color is not None

    def _each(self, work: Callable[[Tensor], Result]) -> list[Result]:
        """Apply `work` to the rows of every batch."""
        device = self.points.device
        step = GPU_BATCH if device.type == "cuda" else BATCH
        batches = torch.arange(len(self._planes), device=device).split(step)
        return list(map_threads(work, list(batches), device.type == "cuda"))

    def update_visibility(self, state: State) -> None:
        """Update visibility and normals for `state`."""
        found = self._each(lambda rows: self._visibility(state.part(rows)))
        self._shows, self._normal = (torch.cat(parts) for parts in zip(*found, strict=True))

    def sample(self, state: State, factor: int) -> Samples:
        """Sample the images at all points, placed by `state`."""

        def batch(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            pixels = self.points.place(state.part(rows)).pixels + self._center
            value, slope, matte = sample_planes(self._planes[rows], pixels, factor)
            return value, slope, matte * self._shows[rows] * self._trust[rows, None]

        parts = (torch.cat(part) for part in zip(*self._each(batch), strict=True))
        return Samples(*parts, self._normal)

    def fit(self, samples: Samples) -> Residuals:
        """Fit the colors and compute robustly weighted residuals.

        If colors are given, only the light of the frames is fitted.
        """
        weight = samples.weight
        for _ in range(2):
            if not self.given:
                self.color = fit_appearance(samples.value, samples.normal, weight)
            shade = fit_shade(samples.value, self.color, samples.normal, weight)
            shade = self._level(samples.value, shade, weight)
            residual = samples.value - self.color.albedo * shade
            base = samples.weight * self.color.known
            deviation = _deviation(residual, base)
            scaled = residual / deviation
            weight = base * self._robust(scaled, base)
        return Residuals(scaled, weight, shade / deviation, deviation)

    def held_out(self, samples: Samples, residuals: Residuals) -> tuple[float, float]:
        """Brightness errors of the held-out points: median and root mean square.

        Residuals are bounded, so that occluders hardly change either measure.
        """
        rows = self.points.held_out
        residual = (residuals.residual * residuals.deviation)[:, rows].abs()
        weight = (samples.weight * self.color.known)[:, rows]
        middle = torch.where(weight > 0.5, residual, torch.nan).nanmedian()
        square = (weight * residual.square().clamp_max(MISS**2)).sum() / weight.sum().clamp_min(1)
        return float(middle), float(square.sqrt())

    def _level(self, value: Tensor, shade: Tensor, weight: Tensor) -> Tensor:
        """Shading scaled per patch and frame, which models near light sources."""
        lit = self.color.albedo * shade
        return shade * (1 + self._patched((value - lit)[..., None], lit, weight).squeeze(-1))

    def _patched(self, rows: Tensor, lit: Tensor, weight: Tensor) -> Tensor:
        """(n, M, K) least-squares factor of `lit` (n, M) in every patch of `rows` (n, M, K)."""
        pull = (weight * lit)[..., None]
        above = self._members @ (pull * rows)
        below = self._members @ (pull * lit[..., None])
        share = above / (below + PATCH_PRIOR * below.mean(1, keepdim=True) + 1e-9)
        return share[:, self.points.patch]

    def _robust(self, scaled: Tensor, base: Tensor) -> Tensor:
        """(N, M) robust weights: of the point, times that of its patch in the frame."""
        square = scaled.square()
        members = self._members.T
        mean = (base * square.clamp_max(100)) @ members / (base @ members).clamp_min(1e-3)
        over = (mean - 1).clamp_min(0)
        coherent = (PATCH_OUTLIER / (PATCH_OUTLIER + over)).square()[:, self.points.patch]
        return (OUTLIER**2 / (OUTLIER**2 + square)).square() * coherent

    def blocks(self, state: State, samples: Samples, residuals: Residuals) -> Blocks:
        """Normal equations at `state`; the albedos follow the identity (variable projection).

        Args:
            state: of the frames.
            samples: looked up there.
            residuals: of these samples.
        """
        points = self.points
        weight = residuals.weight * (INDEPENDENT * ~points.held_out)
        shade, slope = residuals.shade, samples.slope / residuals.deviation[:, None]
        bright = shade * self.color.albedo
        share = weight * shade

        def follow(rows: Tensor) -> Tensor:
            part = state.part(rows)
            pull = points.along(points.place(part), part, slope[rows])
            return (share[rows, :, None] * pull[2]).sum(0)

        total = (share * shade).sum(0).clamp_min(1e-9)
        followed = sum(self._each(follow)) / total[:, None]

        def batch(rows: Tensor) -> tuple[Tensor, ...]:
            part = state.part(rows)
            placed = points.place(part)
            pull = points.along(placed, part, slope[rows])
            root = weight[rows].sqrt()[..., None]
            own = points.frame_rows(placed, part, slope[rows], pull)
            own = own - bright[rows, :, None] * self._patched(own, bright[rows], weight[rows])
            own = own * root
            identity = points.identity_rows(pull[2] - shade[rows, :, None] * followed) * root
            right = residuals.residual[rows, :, None] * root
            flat = identity.flatten(0, 1)
            return (
                own.mT @ own, own.mT @ identity, (own.mT @ right).squeeze(-1),
                flat.T @ flat, flat.T @ right.flatten(),
            )  # fmt: skip

        frame, border, gradient, shared, pulled = zip(*self._each(batch), strict=True)
        return Blocks(
            torch.cat(frame), torch.cat(border), sum(shared), torch.cat(gradient), sum(pulled)
        )


def _deviation(residual: Tensor, base: Tensor) -> Tensor:
    """(M,) standard deviation of each point, at least the clip's."""
    seen = torch.where(base > 0.5, residual.abs(), torch.nan)
    middle = seen.nanmedian() / 0.6745
    bounded = residual.square().clamp_max((BOUND * middle).square())
    own = (base * bounded).sum(0) / base.sum(0).clamp_min(1e-6)
    return (torch.maximum(own, middle.square()) + FLOOR**2).sqrt()
