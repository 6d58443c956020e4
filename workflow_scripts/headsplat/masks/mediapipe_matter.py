"""Matting by the person segmenter inside mediapipe's wheel: offline, about 5 ms a frame."""

import cv2
import numpy as np
from mediapipe.python.solutions.selfie_segmentation import SelfieSegmentation

from headsplat.masks.refine import keep_subject, refine_edges
from headsplat.masks.temporal import TemporalSmoother

# The square ("general") network's input: feeding it this size avoids a second resampling.
_NETWORK_SIZE = 256


class MediaPipeMatter:
    """Segment at 256x256, steady over time, keep the subject, refine at full size.

    Args:
        edge_radius: reach of the edge refinement, in pixels of a picture 512 wide.
        temporal_window: how many earlier frames steady a mask; 0 switches it off.
    """

    def __init__(self, edge_radius: float, temporal_window: int) -> None:
        self.warm_up = temporal_window
        self._edge_radius = edge_radius
        self._smoother = TemporalSmoother(temporal_window)
        self._network = SelfieSegmentation(model_selection=0)

    def matte(self, image: np.ndarray) -> np.ndarray:
        """Matte of the next frame: (H, W, 3) uint8 RGB -> (H, W) float32 in [0, 1]."""
        small = cv2.resize(image, (_NETWORK_SIZE, _NETWORK_SIZE), interpolation=cv2.INTER_AREA)
        mask = self._network.process(small).segmentation_mask.astype(np.float32)
        mask = keep_subject(self._smoother(small, mask))
        return refine_edges(image, mask, self._edge_radius)

    def close(self) -> None:
        """Release the network."""
        self._network.close()
