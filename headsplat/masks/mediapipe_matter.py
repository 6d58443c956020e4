"""Matting by the person segmenters inside mediapipe's wheel: no download, under 25 ms a frame."""

from collections.abc import Sequence

import cv2
import numpy as np
from mediapipe.python.solutions.selfie_segmentation import SelfieSegmentation

from headsplat.masks.refine import keep_subject, refine_edges
from headsplat.masks.specks import without_specks
from headsplat.masks.temporal import TemporalSmoother

# The general network's input (the other's is 256x144): avoids a second resampling.
_NETWORK_SIZE = 256
# A frame's image (H, W, 3) uint8 RGB, and its mask (256, 256) float32.
Coarse = tuple[np.ndarray, np.ndarray]


class MediaPipeMatter:
    """Segment at 256x256, steady over time, keep the subject, refine at full size.

    Args:
        edge_radius: reach of the edge refinement, in pixels of an image 512 wide.
        temporal_window: how many earlier frames steady a mask; 0 switches it off.
    """

    def __init__(self, edge_radius: float, temporal_window: int) -> None:
        self.warm_up = temporal_window
        self.batch = 4
        self._edge_radius = edge_radius
        self._smoother = TemporalSmoother(temporal_window)
        # The "general" and the "landscape" network. They take different things of a background
        # for a person, hardly ever the same: what both find is the person.
        self._networks = [SelfieSegmentation(model_selection=k) for k in (0, 1)]

    def begin(self, images: Sequence[np.ndarray]) -> list[Coarse]:
        """Coarse masks of the next frames, (H, W, 3) uint8 RGB each."""
        return [(image, self._next(image)) for image in images]

    def _next(self, image: np.ndarray) -> np.ndarray:
        small = cv2.resize(image, (_NETWORK_SIZE, _NETWORK_SIZE), interpolation=cv2.INTER_AREA)
        answers = [network.process(small).segmentation_mask for network in self._networks]
        mask = np.minimum(*answers)
        return keep_subject(self._smoother(small, mask))

    def finish(self, begun: Coarse) -> np.ndarray:
        """The matte (H, W) uint8: refined at full size, without specks."""
        image, mask = begun
        alpha = refine_edges(image, mask, self._edge_radius)
        return without_specks(np.rint(alpha * 255).astype(np.uint8))

    def close(self) -> None:
        """Release the networks."""
        for network in self._networks:
            network.close()
