"""Steadying of masks over time with a short memory, so that a chunk needs only a short warm-up."""

from collections import deque

import cv2
import numpy as np

# Difference of colors (0..255, weighted as luma, mean over 5x5 pixels) at which an earlier frame
# counts 0.6 as much: above the noise of a compressed video, below the step of a moving edge.
_SAME_COLOR = 4.0
_WEIGHT = np.exp(-0.5 * (np.arange(256, dtype=np.float32) / _SAME_COLOR) ** 2)


class TemporalSmoother:
    """Average a mask with its predecessors, pixel by pixel, where the image stands still.

    The weight of an earlier frame falls with the color difference to the present one (a
    bilateral filter in time), so still regions stop flickering and moving edges do not lag. The
    memory is `window` earlier frames and nothing older: results do not depend on where a clip
    is cut into chunks once `window` frames have been shown.
    """

    def __init__(self, window: int) -> None:
        self._past: deque[tuple[np.ndarray, np.ndarray]] = deque(maxlen=window)

    def __call__(self, image: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Smooth the next frame.

        Args:
            image: (H, W, 3) uint8 RGB.
            mask: (H, W) float32 of the same frame.

        Returns:
            (H, W) float32.
        """
        total, weights = mask.copy(), np.ones_like(mask)
        for earlier_image, earlier_mask in self._past:
            change = cv2.cvtColor(cv2.absdiff(image, earlier_image), cv2.COLOR_RGB2GRAY)
            weight = cv2.LUT(cv2.blur(change, (5, 5)), _WEIGHT)
            total += weight * earlier_mask
            weights += weight
        self._past.append((image, mask))
        return total / weights
