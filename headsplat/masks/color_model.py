"""How well the colors of one region of an image explain each of its pixels."""

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter

# Brightness varies most within one surface (shadow under the chin), so it gets the fewest bins.
_BINS = (12, 32, 32)
# So many pixels' worth of every population is spread evenly over all colors: a population of
# hardly a pixel claims nothing, a large one claims that colors it lacks are not its own.
_UNKNOWN = 300.0


class ColorBins:
    """The pixels of one image, sorted into bins of YCrCb.

    Args:
        image: (H, W, 3) uint8 RGB.
    """

    def __init__(self, image: np.ndarray) -> None:
        colors = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb).astype(np.int32)
        bins = [colors[..., c] * _BINS[c] // 256 for c in range(3)]
        self._bin = np.ravel_multi_index(bins, _BINS)

    def log_density(self, region: np.ndarray) -> np.ndarray:
        """Log probability of each pixel's color among those of a region, against even odds.

        Args:
            region: (H, W) bool.

        Returns:
            (H, W) float32 nats: 0 where the region says nothing about a color, positive for
            its own colors, down to about -4 for those that a large region lacks.
        """
        count = int(np.prod(_BINS))
        histogram = np.bincount(self._bin[region], minlength=count).astype(np.float32)
        smooth = gaussian_filter(histogram.reshape(_BINS), 1.0, mode="constant").ravel()
        density = (smooth * count + _UNKNOWN) / (histogram.sum() + _UNKNOWN)
        return np.log(density).astype(np.float32)[self._bin]
