"""Matting with MediaPipe's person segmentation networks, whose weights need no download.

The networks see 256 pixels. Colors at full size then decide the edge and add loose hair.
"""

from collections import deque
from collections.abc import Sequence

import cv2
import numpy as np

from headsplat.masks.color_sampling import sampled_matte
from headsplat.masks.matting_models import MatteOptions
from headsplat.masks.refine import (
    keep_subject,
    refine_edges,
    remove_small_regions,
    remove_tufts,
    trim_shoulders,
)
from headsplat.masks.steady import SAME_COLOR
from headsplat.masks.strands import add_strands
from headsplat.networks.model_files import model_file
from headsplat.networks.tflite import TfliteNetwork

# The "general" and the "landscape" network and their input sizes (height, width). Their false
# positives in the background differ, so the minimum of both is used.
_NETWORKS = {
    "selfie_segmentation.tflite": (256, 256),
    "selfie_segmentation_landscape.tflite": (144, 256),
}
_NETWORK_SIZE = 256
# Image (H, W, 3) uint8 RGB of a frame, and its mask (256, 256) float32.
Coarse = tuple[np.ndarray, np.ndarray]


class TemporalSmoother:
    """Temporal bilateral filter of masks: averages each pixel over earlier frames of equal color.

    The weight of an earlier frame decreases with its color difference to the current one. So still
    regions do not flicker, and moving edges do not lag. Only the last `window` frames are used:
    after `window` warm-up frames the result does not depend on the division into chunks.
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
            weight = cv2.LUT(cv2.blur(change, (5, 5)), SAME_COLOR)
            total += weight * earlier_mask
            weights += weight
        self._past.append((image, mask))
        return total / weights


class MediaPipeMatting:
    """Segments at 256x256, filters over time, keeps the subject, refines edges at full size.

    Args:
        edge_radius: radius of the edge refinement in px of an image 512 wide.
        temporal_window: number of earlier frames in the temporal filter; 0 disables it.
    """

    def __init__(self, edge_radius: float, temporal_window: int) -> None:
        self.warm_up = temporal_window
        self.batch = 4
        self._edge_radius = edge_radius
        self._smoother = TemporalSmoother(temporal_window)
        self._networks = [
            (size, TfliteNetwork(model_file(name).read_bytes())) for name, size in _NETWORKS.items()
        ]

    def begin(self, images: Sequence[np.ndarray]) -> list[Coarse]:
        """Coarse masks of the next frames, (H, W, 3) uint8 RGB each."""
        return [(image, self._next(image)) for image in images]

    def _next(self, image: np.ndarray) -> np.ndarray:
        small = cv2.resize(image, (_NETWORK_SIZE, _NETWORK_SIZE), interpolation=cv2.INTER_AREA)
        mask = np.minimum(*(_mask(small, *network) for network in self._networks))
        return keep_subject(self._smoother(small, mask))

    def finish(self, begun: Coarse) -> np.ndarray:
        """The matte (H, W) uint8, refined at full size, without small regions."""
        image, mask = begun
        alpha = refine_edges(image, mask, self._edge_radius)
        if self._edge_radius > 0:
            alpha = add_strands(image, sampled_matte(image, alpha))
        matte = np.rint(alpha * 255).astype(np.uint8)
        if self._edge_radius > 0:
            matte = remove_tufts(matte)
        return remove_small_regions(trim_shoulders(matte))

    def close(self) -> None:
        """Release the networks."""
        self._networks = []


def _mask(image: np.ndarray, size: tuple[int, int], network: TfliteNetwork) -> np.ndarray:
    """Probability of a person, float32 (256, 256), from RGB uint8 (256, 256, 3)."""
    height, width = size
    scaled = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    (mask,) = network(scaled[None] * np.float32(1 / 255))
    square = (_NETWORK_SIZE, _NETWORK_SIZE)
    return cv2.resize(mask[0, ..., 0], square, interpolation=cv2.INTER_LINEAR)


def open_matting(options: MatteOptions) -> MediaPipeMatting:
    """See `headsplat.masks.matting_models.MATTING_MODELS`."""
    return MediaPipeMatting(options.edge_radius, options.temporal_window)
