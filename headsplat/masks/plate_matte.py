"""Alpha from a known background: what differs from the clean plate of a still camera is subject.

Each pixel near the outline is a mix of the plate's color and of a near color of the subject, as in
difference matting (Qian, Sezan: Video Background Replacement without a Blue Screen, ICIP 1999).
Where the image differs from the plate in the sure background around, such as with a moving camera
or changing light, or where both colors are alike, the first matte stays.
"""

import cv2
import numpy as np

from headsplat.masks.nearest import nearest_pixels
from headsplat.masks.plate import REACH, RING, SAME, Plate
from headsplat.masks.refine import above_shoulders

Array = np.ndarray

# Alpha of a first matte above which a pixel may be sure subject, and its depth, over the width.
_SOLID, _DEPTH = 0.97, 4 / 512
# Distance from a pixel of the places whose nearest sure pixels are candidates, over the width.
_STEP = 8 / 512
# Standard deviation of noise of a channel, squared and over three channels.
_NOISE = 3 * 3.0**2
# Color difference of subject and plate, per channel, at which the plate is half trusted, and color
# error at which it is no longer believed.
_APART, _MISFIT = 4.0, 20.0
# Difference from the plate at which a solid pixel hardly shows it, and how fast softer pixels need
# not show it.
_ALIKE, _FIRM = 12.0, 4.0
# Mean difference in the background around at which the plate is no longer believed, the side of
# the places where it is measured and the window around one, over the image width.
_STRANGE, _CELL, _AROUND = 12.0, 8 / 512, 72 / 512
# Difference that counts at most, because other things pass through a background.
_MOST = 30
# Alpha above which pixels connect with the subject, and the distance, over the ring's, within which
# a line begins at it.
_CONNECTED, _ROOT = 0.04, 0.1


def plate_matte(image: Array, first: Array, plate: Plate) -> tuple[Array, Array]:
    """Recompute a matte where the background is known.

    Args:
        image: (H, W, 3) uint8 RGB.
        first: (H, W) float32 matte in [0, 1] with about the right outline.
        plate: the background, of the image's size.

    Returns:
        (H, W) float32 in [0, 1], and (H, W) float32 in [0, 1]: how far the plate decided.
    """
    height, width = first.shape
    decided = np.zeros(first.shape, np.float32)
    inside, away, zone = _parts(first)
    if not inside.any():
        return first, decided
    rows, columns = away.shape
    red, green, blue = cv2.split(cv2.absdiff(image, plate.colors))
    strongest = cv2.max(cv2.max(red, green), blue)
    trust = plate.trust * _still(strongest, plate.trust, away > REACH)
    ring = cv2.resize(zone.view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    at = np.flatnonzero((ring > 0) & (trust > 0.02) & ((strongest > SAME) | (first > 0)))
    if not len(at):
        return first, decided
    y, x = np.divmod(at, width)
    shown, behind = (
        colors.reshape(-1, 3)[at].T.astype(np.float32) for colors in (image, plate.colors)
    )
    fronts = _fronts(image, inside, (y * rows // height, x * columns // width))
    alpha, apart, misfit = _explained(shown, behind, fronts)
    before = first.reshape(-1)[at]
    weight = trust.reshape(-1)[at] * _believed(apart, misfit)
    weight *= np.where(alpha < before, _removable(strongest.reshape(-1)[at], before), 1)
    whole = first.copy()
    whole.reshape(-1)[at] = before + weight * (alpha - before)
    decided.reshape(-1)[at] = weight
    return _rooted(whole, first, away * np.float32(1 / RING)), decided


def _parts(first: Array) -> tuple[Array, Array, Array]:
    """What a first matte (H, W) shows, at half its size (h, w).

    Returns:
        bool, sure pixels of the subject; float32 distance from its solid part, over the width; and
        bool, pixels near the outline, of which the plate may decide.
    """
    height, width = first.shape
    half = (max(width // 2, 1), max(height // 2, 1))
    coarse = cv2.resize(first, half, interpolation=cv2.INTER_AREA)
    solid = (coarse > _SOLID).astype(np.uint8)
    inside = cv2.distanceTransform(solid, cv2.DIST_L2, 3) > _DEPTH * half[0]
    body = cv2.morphologyEx((coarse > 0.5).astype(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5)))
    away = cv2.distanceTransform(1 - body, cv2.DIST_L2, 3) * np.float32(1 / half[0])
    reach = REACH + (RING - REACH) * above_shoulders(body)[:, None]
    return inside, away, ~inside & (away < reach)


def _believed(apart: Array, misfit: Array) -> Array:
    """How far alphas of `_explained` are right, (n,) float32 in [0, 1]."""
    weight = np.exp(misfit * np.float32(-0.5 / (3 * _MISFIT**2)))
    return weight * (apart / (apart + np.float32(3 * _APART**2)))


def _removable(change: Array, before: Array) -> Array:
    """How far alphas may fall below those of the first matte, (n,) float32 in [0, 1].

    A solid pixel may have a color between subject and plate. It is background if it shows the
    plate's color.

    Args:
        change: (n,) uint8 difference from the plate.
        before: (n,) float32 first matte.
    """
    same = np.exp(np.square(change / np.float32(_ALIKE)) * np.float32(-0.5))
    return np.maximum(same, (_FIRM * (1 - before)).clip(0, 1))


def _still(change: Array, known: Array, clear: Array) -> Array:
    """How far the plate still shows the background of an image, (H, W) float32 in [0, 1].

    Args:
        change: (H, W) uint8 difference from the plate.
        known: (H, W) float32 trust of the plate.
        clear: (h, w) bool, pixels far from the subject.
    """
    height, width = change.shape
    side = max(1, round(_CELL * width))
    cells = (max(width // side, 1), max(height // side, 1))
    share = cv2.resize(clear.astype(np.float32), cells, interpolation=cv2.INTER_AREA)
    share *= cv2.resize(known, cells, interpolation=cv2.INTER_AREA)
    apart = cv2.min(change, _MOST).astype(np.float32)
    apart = cv2.resize(apart, cells, interpolation=cv2.INTER_AREA)
    window = (2 * round(_AROUND / _CELL / 2) + 1,) * 2
    total = cv2.blur(apart * share, window)
    near = cv2.blur(share, window)
    mean = np.where(near > 0.02, total / np.maximum(near, 0.02), _MOST)
    still = np.exp(np.square(mean / _STRANGE) * -0.5).astype(np.float32)
    return cv2.resize(still, (width, height), interpolation=cv2.INTER_LINEAR)


def _fronts(image: Array, inside: Array, near: tuple[Array, Array]) -> list[Array]:
    """Candidates (3, n) of the subject's colors: of near pixels, and of the hair.

    Args:
        image: (H, W, 3) uint8.
        inside: (h, w) bool, sure pixels of the subject.
        near: rows and columns (n,) at the size of `inside`.
    """
    size = inside.shape[1], inside.shape[0]
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA).reshape(-1, 3)
    step = max(1, round(_STEP * size[0]))
    fronts = [small[index].T.astype(np.float32) for index in nearest_pixels(inside, *near, step)]
    # Loose hair below an ear is nearer to skin than to hair.
    rows, columns = np.nonzero(inside)
    top = rows < rows[0] + 0.06 * size[1]
    hair = np.median(small[rows[top] * size[0] + columns[top]], 0).astype(np.float32)
    return [*fronts, np.broadcast_to(hair[:, None], fronts[0].shape)]


def _explained(shown: Array, behind: Array, fronts: list[Array]) -> tuple[Array, Array, Array]:
    """What mixes of candidates and the plate explain of some pixels.

    Args:
        shown: (3, n) float32 colors of the image.
        behind: (3, n) of the plate.
        fronts: candidates (3, n) of the subject's colors.

    Returns:
        Of each pixel's best candidate, (n,) float32: alpha, squared distance of its color from the
        plate's, and squared distance of the image's color from the mix.
    """
    rest = shown - behind
    change = np.einsum("cn,cn->n", rest, rest)
    least = np.full(len(change), np.inf, np.float32)
    best = np.zeros((2, len(change)), np.float32)
    for front in fronts:
        across = front - behind
        apart = np.einsum("cn,cn->n", across, across)
        along = np.einsum("cn,cn->n", rest, across)
        alpha = (along / np.maximum(apart, _NOISE)).clip(0, 1)
        misfit = change - 2 * alpha * along + alpha * alpha * apart
        better = misfit < least
        np.copyto(least, misfit, where=better)
        np.copyto(best[0], alpha, where=better)
        np.copyto(best[1], apart, where=better)
    best[0] *= change / (change + np.float32(_NOISE))
    return best[0], best[1], least


def _rooted(whole: Array, first: Array, away: Array) -> Array:
    """A matte without what it adds apart from the subject.

    Args:
        whole: (H, W) float32 matte by the plate.
        first: (H, W) float32 matte before.
        away: (h, w) float32 distance from the subject, over the ring's width.
    """
    height, width = whole.shape
    half = away.shape[1], away.shape[0]
    shown = cv2.resize(whole, half, interpolation=cv2.INTER_AREA) > _CONNECTED
    count, labels = cv2.connectedComponents(shown.astype(np.uint8))
    rooted = np.bincount(labels[away < _ROOT], minlength=count) > 0
    rooted[0] = True
    kept = cv2.resize(
        rooted[labels].astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST
    )
    return np.where(kept > 0, whole, np.minimum(whole, first))
