"""Foreground color estimation at soft edges of a matte, to avoid halos of the old background.

Alpha explains each soft pixel as a mix of two colors. One is of the nearest solid pixels, the other
of the nearest background pixels. Of a few candidates the pair that fits best is taken, and averaged
with its neighbors'. The rest of the pixel's color is split between both by least squares, as in
Forte: Approximate Fast Foreground Color Estimation, ICIP 2021.
"""

import cv2
import numpy as np

from headsplat.masks.nearest import nearest_pixels

Array = np.ndarray

# Alpha of 255 from which a pixel shows the subject only, and up to which the background only.
_SOLID, _CLEAR = 250, 5
# Distance of the places whose nearest pixels are candidates, over the image width.
_STEP = 7 / 512


def foreground_colors(image: Array, alpha: Array) -> Array:
    """Estimate the foreground colors of an image.

    Args:
        image: (H, W, 3) uint8 RGB.
        alpha: (H, W) uint8 matte of the image.

    Returns:
        (H, W, 3) uint8 RGB: the image where the matte is 0 or 255, the estimate elsewhere.
    """
    at = np.flatnonzero((alpha > 0) & (alpha < 255))
    if not len(at):
        return image
    height, width = alpha.shape
    # The candidates are averages of 2 x 2 pixels, without their noise.
    half = (max(width // 2, 1), max(height // 2, 1))
    small = cv2.resize(image, half, interpolation=cv2.INTER_AREA)
    share = cv2.resize(alpha, half, interpolation=cv2.INTER_AREA)
    # Pixels beside soft ones are too often mixed.
    solid = cv2.erode((share >= _SOLID).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    clear = cv2.erode((share <= _CLEAR).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    if not solid.any():
        solid = share == share.max()
    if not clear.any():
        clear = share == share.min()
    rows, columns = np.divmod(at, width)
    soft = np.zeros(share.shape, np.uint8)
    soft[(rows * half[1] // height), (columns * half[0] // width)] = 1
    soft = cv2.dilate(soft, np.ones((3, 3), np.uint8)) > 0
    front, behind = (
        cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR).reshape(-1, 3)[at]
        for plane in _pairs(small, share, solid, clear, soft)
    )
    cover = alpha.reshape(-1)[at].astype(np.float32)[:, None] / 255
    unexplained = image.reshape(-1, 3)[at] - cover * front - (1 - cover) * behind
    # Least-squares share of the residual: the smallest change of both colors that explains it.
    front += cover / (cover**2 + (1 - cover) ** 2) * unexplained
    out = image.copy()
    out.reshape(-1, 3)[at] = np.rint(np.clip(front, 0, 255))
    return out


def _pairs(image: Array, share: Array, solid: Array, clear: Array, soft: Array) -> list[Array]:
    """Subject and background colors of the soft pixels, (h, w, 3) float32 each."""
    rows, columns = np.nonzero(soft)
    colors = image.reshape(-1, 3).astype(np.float32)
    shown = colors[rows * image.shape[1] + columns].T.copy()
    cover = share[rows, columns].astype(np.float32) / 255
    step = max(1, round(_STEP * image.shape[1]))
    candidates = [
        [colors[near].T.copy() for near in nearest_pixels(mask, rows, columns, step)]
        for mask in (solid, clear)
    ]
    best = [colors[0] for colors in candidates]
    for k, weight in enumerate((cover, 1 - cover)):
        rest = shown - (1 - weight) * best[1 - k]
        least, kept = np.full(len(rows), np.inf, np.float32), best[k].copy()
        for color in candidates[k]:
            error = rest - weight * color
            cost = np.einsum("cn,cn->n", error, error)
            better = cost < least
            np.copyto(least, cost, where=better)
            np.copyto(kept, color, where=better)
        best[k] = kept
    planes = []
    for kept, mask in zip(best, (solid, clear), strict=True):
        plane = image.astype(np.float32)
        plane[rows, columns] = kept.T
        weight = (mask | soft).astype(np.float32)
        total = cv2.blur(plane * weight[..., None], (5, 5))
        planes.append(total / np.maximum(cv2.blur(weight, (5, 5)), 1e-3)[..., None])
    return planes
