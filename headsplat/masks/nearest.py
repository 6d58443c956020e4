"""Nearest pixels of a mask, from a few places around each pixel: candidates for its colors."""

import cv2
import numpy as np

Array = np.ndarray

# In steps from the pixel, rows and columns.
_PLACES = ((1, 1), (-1, -1), (1, -1), (-1, 1))


def nearest_pixels(mask: Array, rows: Array, columns: Array, step: int) -> list[Array]:
    """Flat indices (n,) of the nearest pixels of a mask, from places around some pixels.

    Args:
        mask: (h, w) uint8 or bool, not empty.
        rows: (n,) of the pixels.
        columns: (n,) likewise.
        step: distance of the places from the pixel, px; 0 for the pixel alone.
    """
    height, width = mask.shape
    _, labels = cv2.distanceTransformWithLabels(
        1 - mask.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    at = np.flatnonzero(mask)
    index = np.zeros(len(at) + 1, np.int64)
    index[labels.reshape(-1)[at]] = at
    found = []
    for y, x in _PLACES if step else _PLACES[:1]:
        there = (rows + step * y).clip(0, height - 1), (columns + step * x).clip(0, width - 1)
        found.append(index[labels[there]])
    return found
