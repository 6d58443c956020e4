"""Alpha from sampled colors: each unsure pixel as a mix of near subject and background colors.

Candidates are the nearest sure pixels from a few places around a pixel. The pair that explains the
pixel best gives its colors, and the pixel's place between the two colors is its alpha, as in
Gastal, Oliveira: Shared Sampling for Real-Time Alpha Matting, 2010. Pairs are chosen at half the
resolution; alpha is computed at the full one, so that it keeps single hairs.
"""

import cv2
import numpy as np

from headsplat.masks.nearest import nearest_pixels
from headsplat.masks.refine import above_shoulders

Array = np.ndarray

# Alpha of a first matte above which a pixel may be sure subject, below which background.
_SOLID, _CLEAR = 0.97, 0.03
# Widths of the unsure band inside and outside the first matte's soft edge, over the image width.
_INSIDE, _OUTSIDE = 3 / 512, 12 / 512
# Distance from a pixel of the places whose nearest sure pixels are candidates, likewise.
_STEP = 7 / 512
# First alpha from which colors may raise it at shoulders.
_BEGUN = 0.3
# Squared color distance (sum over channels of 256 steps) of noise.
_NOISE = 75.0
# Color difference of subject and background, per channel, at which the samples are half trusted.
_APART = 40.0
# Color error per channel at which a pair is no longer believed.
_MISFIT = 8.0
# Weight of the near colors' own variance against a pixel's squared distance from them.
_SPREAD = 1.0
# Error, in steps of 256, that a difference of one between alpha and the first matte counts as.
_PRIOR = 40.0


def sampled_matte(image: Array, first: Array) -> Array:
    """Recompute the soft edge of a matte from colors.

    Args:
        image: (H, W, 3) uint8 RGB.
        first: (H, W) float32 matte with about the right outline.

    Returns:
        (H, W) float32 in [0, 1]; `first` where colors do not decide.
    """
    height, width = first.shape
    half = (max(width // 2, 1), max(height // 2, 1))
    small = cv2.resize(image, half, interpolation=cv2.INTER_AREA)
    coarse = cv2.resize(first, half, interpolation=cv2.INTER_AREA)
    inside = _far_from(coarse <= _SOLID, _INSIDE * half[0])
    outside = _far_from(coarse > _CLEAR, _OUTSIDE * half[0])
    if not inside.any() or not outside.any():
        return first
    unsure = ~(inside | outside)
    front, behind, odd = _pairs(small, coarse, inside, outside, unsure)
    unsure = cv2.resize(unsure.view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    at = np.flatnonzero(unsure)
    rows, columns = np.divmod(at, width)
    near = rows * half[1] // height * half[0] + columns * half[0] // width
    front, behind, odd = (
        plane.reshape(-1, plane.shape[2])[near].T for plane in (front, behind, odd)
    )
    shown = image.reshape(-1, 3)[at].T.astype(np.float32)
    alpha, misfit, apart = explained(shown, front, behind)
    trust = apart / (apart + 3 * _APART**2) * np.exp(misfit * (-0.5 / (3 * _MISFIT**2)))
    matte = first.copy()
    before = matte.reshape(-1)[at]
    loose = above_shoulders(coarse > 0.5)[rows * half[1] // height]
    grows = odd[1] * np.maximum(loose, np.minimum(before / _BEGUN, 1))
    trust *= np.where(alpha > before, grows, odd[0])
    matte.reshape(-1)[at] = before + trust * (alpha - before)
    return ((matte - _CLEAR) * np.float32(1 / (1 - 2 * _CLEAR))).clip(0, 1)


def _far_from(mask: Array, distance: float) -> Array:
    """Pixels farther than a distance from those of a mask, bool (h, w)."""
    return cv2.distanceTransform(1 - mask.view(np.uint8), cv2.DIST_L2, 3) > distance


def explained(shown: Array, front: Array, behind: Array) -> tuple[Array, Array, Array]:
    """Alpha (n,), squared misfit (n,) and squared distance of the colors (n,), each of (3, n)."""
    across = front - behind
    apart = np.einsum("cn,cn->n", across, across)
    rest = shown - behind
    alpha = np.einsum("cn,cn->n", rest, across)
    alpha /= apart + np.float32(_NOISE)
    np.clip(alpha, 0, 1, out=alpha)
    rest -= alpha * across
    return alpha, np.einsum("cn,cn->n", rest, rest), apart


def _pairs(
    image: Array, coarse: Array, inside: Array, outside: Array, unsure: Array
) -> tuple[Array, Array, Array]:
    """Subject and background colors (h, w, 3), and oddity (h, w, 2) of each unsure pixel."""
    rows, columns = np.nonzero(unsure)
    colors = image.reshape(-1, 3).astype(np.float32)
    shown = colors[rows * image.shape[1] + columns].T.copy()
    before = coarse[rows, columns]
    step = max(1, round(_STEP * image.shape[1]))
    fronts, behinds = (
        [colors[near].T.copy() for near in nearest_pixels(mask, rows, columns, step)]
        for mask in (inside, outside)
    )
    best = [fronts[0], behinds[0]]
    for k, colors in enumerate((fronts, behinds)):
        # One of the two is searched while the other stays; all pairs would take twice the time.
        kept, least = colors[0].copy(), np.full(len(rows), np.inf, np.float32)
        for color in colors:
            alpha, cost, _ = explained(shown, *((color, best[1]) if k == 0 else (best[0], color)))
            alpha -= before
            cost += np.float32(_PRIOR**2) * alpha * alpha
            better = cost < least
            np.copyto(least, cost, where=better)
            np.copyto(kept, color, where=better)
        best[k] = kept
    odd = np.zeros((*unsure.shape, 2), np.float32)
    for k, colors in enumerate((fronts, behinds)):
        odd[rows, columns, k] = _oddity(shown, np.stack(colors))
    planes = []
    for kept, mask in zip(best, (inside, outside), strict=True):
        plane = image.astype(np.float32)
        plane[rows, columns] = kept.T
        # Over three pixels, among those that have a color of this kind.
        weight = (mask | unsure).astype(np.float32)
        total = cv2.blur(plane * weight[..., None], (3, 3))
        planes.append(total / np.maximum(cv2.blur(weight, (3, 3)), 1e-3)[..., None])
    return planes[0], planes[1], odd


def _oddity(shown: Array, colors: Array) -> Array:
    """How surely pixels (3, n) are none of some near colors (k, 3, n): 0 to 1, (n,).

    It is 0 where a pixel differs less from one of them than they differ among themselves.
    """
    mean = colors.mean(0)
    spread = np.square(colors - mean).sum((0, 1)) * np.float32(1 / len(colors))
    apart = np.square(colors - shown).sum(1).min(0)
    return apart / (apart + np.float32(_SPREAD) * spread + np.float32(_NOISE))
