"""The background of a clip whose camera stands still, from a few of its images."""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from headsplat.masks.plate_samples import PlateSamples

Array = np.ndarray

# Reach outside the subject at shoulders and at the head, over the image width.
REACH, RING = 12 / 512, 40 / 512
# Difference from the plate, in the strongest channel, up to which a pixel is background.
SAME = 5
# Least number of values of a known pixel, its least distance to the person over the image width,
# and the mean difference between its values at which it is hardly believed.
_LEAST, _MARGIN, _VARIES = 4, 9 / 512, 6.0
# Median difference of the values above which the camera seems to move, and least share of the image
# that is known.
_MOVING, _KNOWN = 1.5, 0.05
# One of so many images tests the plate.
_EACH = 3


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
    if _surprise(colors, known, tests) >= SAME:
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
        ring = known & (away > REACH) & (away < RING)
        if ring.any():
            found.append(float(np.percentile(cv2.absdiff(image, colors).max(-1)[ring], 90)))
    return float(np.median(found)) if found else 0.0
