"""Colors that a clip's background shows: a sample of each pixel, with bounded memory."""

import cv2
import numpy as np

from headsplat.runtime.errors import UserError

Array = np.ndarray

# Values kept of each pixel, and largest matte of a background pixel.
_KEPT, _CLEAR = 31, 4
_ROWS = 64


class PlateSamples:
    """Up to `kept` values of each background pixel: reservoir sampling, the same in every run.

    Args:
        height: of the images, in pixels.
        width: likewise.
        margin: least distance of a background pixel to the person, over the width.
    """

    kept = _KEPT

    def __init__(self, height: int, width: int, margin: float) -> None:
        self._kept = np.zeros((_KEPT, height, width, 3), np.uint8)
        self._count = np.zeros((height, width), np.int32)
        self._random = np.random.default_rng(0)
        reach = max(1, round(margin * width))
        self._kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))

    def add(self, image: Array, matte: Array) -> None:
        """Take the background of an image.

        Args:
            image: (H, W, 3) uint8 RGB.
            matte: (H, W) uint8 of the person.

        Raises:
            UserError: the image has another size.
        """
        if image.shape != self._kept.shape[1:]:
            raise UserError("the clip's images differ in size; make the frames again")
        person = cv2.dilate((matte > _CLEAR).astype(np.uint8), self._kernel)
        rows, columns = np.nonzero(person == 0)
        count = self._count[rows, columns]
        slot = np.where(count < _KEPT, count, self._random.integers(0, count + 1))
        taken = slot < _KEPT
        rows, columns, slot = rows[taken], columns[taken], slot[taken]
        self._kept[slot, rows, columns] = image[rows, columns]
        self._count[person == 0] += 1

    def median(self) -> tuple[Array, Array, Array]:
        """The median colors, what they vary by, and what they are of.

        Returns:
            (H, W, 3) uint8, 0 where there is no value; (H, W) float32 mean absolute difference from
            the median; (H, W) int32 number of values, at most `kept`.
        """
        plate = np.zeros(self._kept.shape[1:], np.uint8)
        spread = np.zeros(plate.shape[:2], np.float32)
        counts = self._count.clip(0, _KEPT)
        most = int(counts.max())
        number = np.arange(most)[:, None, None, None]
        for first in range(0, len(plate), _ROWS):
            rows = slice(first, first + _ROWS)
            count = counts[rows][None, ..., None]
            # Empty slots sort last.
            values = np.where(number < count, self._kept[:most, rows], np.uint8(255))
            values.sort(0)
            place = np.maximum(count - 1, 0) // 2
            middle = np.take_along_axis(values, place, 0) if most else values.sum(0, keepdims=True)
            plate[rows] = np.where(count > 0, middle, 0)[0]
            apart = np.maximum(values, middle) - np.minimum(values, middle)
            apart = np.where(number < count, apart, 0).sum((0, 3), np.uint32)
            spread[rows] = apart / np.maximum(3 * counts[rows], 1)
        return plate, spread, counts
