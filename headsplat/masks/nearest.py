"""Nearest pixels of a mask: what fills unknown places, and candidates for the colors of pixels."""

import cv2
import numpy as np

Array = np.ndarray

# In steps from the pixel, rows and columns.
_PLACES = ((1, 1), (-1, -1), (1, -1), (-1, 1))


def nearest_index(mask: Array) -> Array:
    """Flat index (h, w) int64 of the nearest pixel of a mask, for each pixel.

    Args:
        mask: (h, w) uint8 or bool, not empty.
    """
    known = mask.astype(bool)
    _, labels = cv2.distanceTransformWithLabels(
        1 - known.view(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    at = np.flatnonzero(known)
    index = np.zeros(len(at) + 1, np.int64)
    index[labels.reshape(-1)[at]] = at
    return index[labels]


def filled_from_nearest(values: Array, known: Array) -> Array:
    """Values (h, w, ...) with those of the nearest known pixel where a pixel is unknown.

    Args:
        values: of each pixel.
        known: (h, w) bool; where nothing is known, nothing is filled.
    """
    if known.all() or not known.any():
        return values
    return values.reshape(known.size, *values.shape[2:])[nearest_index(known)]


def nearest_pixels(mask: Array, rows: Array, columns: Array, step: int) -> list[Array]:
    """Flat indices (n,) of the nearest pixels of a mask, from places around some pixels.

    Args:
        mask: (h, w) uint8 or bool, not empty.
        rows: (n,) of the pixels.
        columns: (n,) likewise.
        step: distance of the places from the pixel, px; 0 for the pixel alone.
    """
    height, width = mask.shape
    index = nearest_index(mask)
    found = []
    for y, x in _PLACES if step else _PLACES[:1]:
        there = (rows + step * y).clip(0, height - 1), (columns + step * x).clip(0, width - 1)
        found.append(index[there])
    return found
