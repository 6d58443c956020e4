"""Where a clip jumps to another shot, so that what remembers earlier frames can forget them."""

import cv2
import numpy as np

_SIDE = 32
# Mean color difference of two small images, 0..255, from which they are different shots.
# Neighbors in one shot, a whole body that walks included, were seen to stay below 10.
_CUT = 18.0


class CutDetector:
    """Compares each image with the one before it."""

    def __init__(self) -> None:
        self._before: np.ndarray | None = None

    def __call__(self, image: np.ndarray) -> bool:
        """Whether `image`, (H, W, 3) uint8, begins a new shot; the first one does not."""
        small = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
        before, self._before = self._before, small
        return before is not None and float(cv2.absdiff(small, before).mean()) > _CUT
