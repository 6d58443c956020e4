"""Loose hair outside a matte: thin lines of the subject's color on a smoother background.

A background out of focus has no lines as thin as a hair. Closing the image removes dark lines,
opening it removes bright ones, so one of the two shows the background behind a line. The line's
place between that color and the nearest color of the subject is its alpha.
"""

import cv2
import numpy as np

from headsplat.masks.color_sampling import explained
from headsplat.masks.nearest import nearest_pixels
from headsplat.masks.refine import above_shoulders

Array = np.ndarray

_RING = 40 / 512  # reach outside the subject, over the image width
_LINE = 7 / 512  # width below which something is a line, likewise
_SOLID = 0.97
_LUMINANCE = np.float32([0.299, 0.587, 0.114])
# Color difference per channel of subject and background at which a line is half trusted, and color
# error at which it is no longer believed.
_APART, _MISFIT = 30.0, 12.0
# Difference of the closed and the opened image, in the strongest channel, below which is no line.
_LEAST_CONTRAST = 16
# Squared color difference (sum over channels) of noise, and most that one pixel adds to the
# roughness of the background, which hides lines.
_NOISE, _MOST = 60.0, 3 * 40.0**2
# Evidence below which a pixel is background, above which its color alone decides.
_EVIDENCE = 0.15, 0.6
# Alpha above which pixels connect, and distances over the ring's width: within the first, lines
# begin at the subject; none may reach the second.
_CONNECTED = 0.2
_ROOT, _END = 0.1, 0.9


def add_strands(image: Array, matte: Array) -> Array:
    """Add loose hair to a matte.

    Args:
        image: (H, W, 3) uint8 RGB.
        matte: (H, W) float32 in [0, 1].

    Returns:
        (H, W) float32, nowhere below `matte`.
    """
    height, width = matte.shape
    half = (max(width // 2, 1), max(height // 2, 1))
    coarse = cv2.resize(matte, half, interpolation=cv2.INTER_AREA)
    solid = cv2.erode((coarse > _SOLID).astype(np.uint8), np.ones((5, 5), np.uint8))
    body = cv2.morphologyEx((coarse > 0.5).astype(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5)))
    away = cv2.distanceTransform(1 - body, cv2.DIST_L2, 3) * np.float32(1 / (_RING * half[0]))
    reach = away < 1
    above = above_shoulders(body)
    reach &= above[:, None] > 0
    ring = reach.astype(np.uint8) & (1 - cv2.erode(body, np.ones((3, 3), np.uint8)))
    if not solid.any() or not ring.any():
        return matte
    small = cv2.resize(image, half, interpolation=cv2.INTER_AREA)
    around = np.zeros(small.shape, np.float32)
    rows, columns = np.nonzero(ring)
    (near,) = nearest_pixels(solid, rows, columns, 0)
    around[rows, columns] = small.reshape(-1, 3)[near]
    around = cv2.blur(around, (3, 3))
    ring = cv2.resize(ring, (width, height), interpolation=cv2.INTER_NEAREST)
    at, evidence, alpha = _lines(image, around, ring)
    low, high = _EVIDENCE
    alpha *= ((evidence - low) / (high - low)).clip(0, 1)
    alpha *= above[at // width * half[1] // height]
    whole = matte.copy()
    np.maximum(alpha, whole.reshape(-1)[at], out=alpha)
    whole.reshape(-1)[at] = alpha
    return _connected(whole, matte, away)


def _lines(image: Array, around: Array, ring: Array) -> tuple[Array, Array, Array]:
    """Flat indices (n,) of pixels of lines, the evidence (n,) for them, and their alpha (n,).

    Args:
        image: (H, W, 3) uint8.
        around: (h, w, 3) float32 colors of the subject near each pixel, at half the size.
        ring: (H, W) uint8, 1 where lines are sought.
    """
    height, width = ring.shape
    line = np.ones((2 * round(_LINE * width / 2) + 1,) * 2, np.uint8)
    closed = cv2.morphologyEx(image, cv2.MORPH_CLOSE, line)
    opened = cv2.morphologyEx(image, cv2.MORPH_OPEN, line)
    contrast = cv2.split(cv2.subtract(closed, opened))
    strong = cv2.max(cv2.max(contrast[0], contrast[1]), contrast[2]) > _LEAST_CONTRAST
    at = np.flatnonzero(ring.view(bool) & strong)
    rows, columns = np.divmod(at, width)
    near = rows * around.shape[0] // height * around.shape[1] + columns * around.shape[1] // width
    shown, closed, opened, front = (
        colors.reshape(-1, 3)[index].T.astype(np.float32)
        for colors, index in ((image, at), (closed, at), (opened, at), (around, near))
    )
    dark = 2 * (_LUMINANCE @ front) < _LUMINANCE @ closed + _LUMINANCE @ opened
    behind = np.where(dark, closed, opened)
    alpha, misfit, apart = explained(shown, front, behind)
    shown -= behind
    change = np.einsum("cn,cn->n", shown, shown)
    rough = np.zeros(ring.shape, np.float32)
    rough.reshape(-1)[at] = np.minimum(change, _MOST)
    side = (4 * len(line) + 3,) * 2
    rough = cv2.blur(rough, side).reshape(-1)[at]
    rough /= cv2.blur(ring.astype(np.float32), side).reshape(-1)[at]
    evidence = np.exp(misfit * (-0.5 / (3 * _MISFIT**2)))
    evidence *= apart / (apart + 3 * _APART**2)
    return at, evidence * change / (change + rough + _NOISE), alpha


def _connected(whole: Array, matte: Array, away: Array) -> Array:
    """`whole` in lines that begin at the subject and end near it, `matte` elsewhere.

    Args:
        whole: (H, W) float32 matte with all lines.
        matte: (H, W) float32 without them.
        away: (h, w) float32 distance from the subject, 1 where the search ends; half the size.
            Lines that go on there are edges of things in the background.
    """
    height, width = whole.shape
    half = away.shape[1], away.shape[0]
    small = cv2.resize(whole, half, interpolation=cv2.INTER_AREA)
    lines = (small > _CONNECTED) & (away > 0)
    count, labels = cv2.connectedComponents(lines.astype(np.uint8))
    rooted = np.bincount(labels[away < _ROOT], minlength=count) > 0
    rooted &= np.bincount(labels[away > _END], minlength=count) == 0
    rooted[0] = False
    kept = cv2.dilate(rooted[labels].astype(np.uint8), np.ones((3, 3), np.uint8))
    kept = cv2.resize(kept, (width, height), interpolation=cv2.INTER_NEAREST)
    return np.where(kept > 0, whole, matte)
