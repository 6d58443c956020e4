"""Alpha from a known background: what differs from the clean plate of a still camera is subject.

Each pixel near the outline is a mix of the plate's color and of a near color of the subject, as in
difference matting (Qian, Sezan: Video Background Replacement without a Blue Screen, ICIP 1999).
Where the image differs from the plate in the sure background around, such as with a moving camera
or changing light, or where both colors are alike, the first matte stays.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from headsplat.masks.nearest import nearest_pixels
from headsplat.masks.plate_samples import PlateSamples
from headsplat.masks.refine import above_shoulders

Array = np.ndarray

# Least number of values of a known pixel, its least distance to the person over the image width,
# and the mean difference between its values at which it is hardly believed.
_LEAST, _MARGIN, _VARIES = 4, 9 / 512, 6.0
# Median difference of the values above which the camera seems to move, and least share of the image
# that is known.
_MOVING, _KNOWN = 1.5, 0.05
# One of so many images tests the plate.
_EACH = 3
# Alpha of a first matte above which a pixel may be sure subject, and its depth, over the width.
_SOLID, _DEPTH = 0.97, 4 / 512
# Reach outside the subject at shoulders and at the head, over the image width.
_REACH, _RING = 12 / 512, 40 / 512
# Distance from a pixel of the places whose nearest sure pixels are candidates, likewise.
_STEP = 8 / 512
# Difference from the plate, in the strongest channel, up to which a pixel is background.
_SAME = 5
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


@dataclass(frozen=True)
class Plate:
    """A background that is known.

    Attributes:
        colors: (H, W, 3) uint8 RGB.
        trust: (H, W) float32, 0 where nothing is known, 1 where the background never changes.
    """

    colors: Array
    trust: Array


def plate_of(pairs: Iterable[tuple[Array, Array]]) -> Plate | None:
    """The background of some images, evenly spread over a clip.

    Args:
        pairs: images (H, W, 3) uint8 RGB with coarse mattes (H, W) uint8; those of another size
            than the first are left out.

    Returns:
        None if the camera moves, or little of the background is seen.
    """
    samples, shape, tests = None, (), []
    for k, (image, matte) in enumerate(pairs):
        if samples is None:
            samples, shape = PlateSamples(*image.shape[:2], _MARGIN), image.shape
        if image.shape == shape:
            samples.add(image, matte)
            tests += [(image, matte)] if k % _EACH == 1 else []
    if samples is None:
        return None
    colors, spread, count = samples.median()
    known = count >= _LEAST
    if known.mean() < _KNOWN or np.median(spread[known]) > _MOVING:
        return None
    if _surprise(colors, known, tests) >= _SAME:
        return None
    varies = cv2.blur(spread, (5, 5)) * np.float32(1 / _VARIES)
    return Plate(colors, known * np.exp(-0.5 * varies * varies))


def _surprise(colors: Array, known: Array, tests: list[tuple[Array, Array]]) -> float:
    """Difference from the plate near the subject that nine tenths of the background stay below.

    A wall without texture hides that the camera moves. Light that the subject throws changes what
    is near it. Both are seen only beside the subject.
    """
    found = []
    for image, matte in tests:
        away = cv2.distanceTransform((matte < 128).astype(np.uint8), cv2.DIST_L2, 3)
        away *= np.float32(1 / matte.shape[1])
        ring = known & (away > _REACH) & (away < _RING)
        if ring.any():
            found.append(float(np.percentile(cv2.absdiff(image, colors).max(-1)[ring], 90)))
    return float(np.median(found)) if found else 0.0


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
    half = (max(width // 2, 1), max(height // 2, 1))
    coarse = cv2.resize(first, half, interpolation=cv2.INTER_AREA)
    solid = (coarse > _SOLID).astype(np.uint8)
    inside = cv2.distanceTransform(solid, cv2.DIST_L2, 3) > _DEPTH * half[0]
    body = cv2.morphologyEx((coarse > 0.5).astype(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5)))
    decided = np.zeros(first.shape, np.float32)
    if not inside.any():
        return first, decided
    away = cv2.distanceTransform(1 - body, cv2.DIST_L2, 3)
    reach = _REACH + (_RING - _REACH) * above_shoulders(body)[:, None]
    zone = ~inside & (away < reach * half[0])
    change = cv2.absdiff(image, plate.colors)
    strongest = cv2.max(cv2.max(*cv2.split(change)[:2]), cv2.split(change)[2])
    trust = plate.trust * _still(strongest, plate.trust, away > _REACH * half[0])
    ring = cv2.resize(zone.view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    at = np.flatnonzero((ring > 0) & (trust > 0.02) & ((strongest > _SAME) | (first > 0)))
    if not len(at):
        return first, decided
    rows, columns = np.divmod(at, width)
    near = rows * half[1] // height, columns * half[0] // width
    shown, behind = (
        colors.reshape(-1, 3)[at].T.astype(np.float32) for colors in (image, plate.colors)
    )
    alpha, apart, misfit = _explained(shown, behind, _fronts(image, inside, near))
    weight = trust.reshape(-1)[at] * np.exp(misfit * np.float32(-0.5 / (3 * _MISFIT**2)))
    weight *= apart / (apart + np.float32(3 * _APART**2))
    before = first.reshape(-1)[at]
    # A solid pixel may have a color between both; it is background if it shows the plate's.
    same = np.exp(np.square(strongest.reshape(-1)[at] / np.float32(_ALIKE)) * np.float32(-0.5))
    weight *= np.where(alpha < before, np.maximum(same, (_FIRM * (1 - before)).clip(0, 1)), 1)
    whole = first.copy()
    whole.reshape(-1)[at] = before + weight * (alpha - before)
    decided.reshape(-1)[at] = weight
    return _rooted(whole, first, away * np.float32(1 / (_RING * half[0]))), decided


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
    """Alpha, squared distance of the colors and squared misfit (n,) of the best candidate."""
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
    """A matte without what it adds apart from the subject."""
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
