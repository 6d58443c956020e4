"""Matting by the person segmenters inside mediapipe's wheel: no download, under 25 ms a frame."""

from collections.abc import Sequence

import cv2
import numpy as np
from mediapipe.python.solutions.selfie_segmentation import SelfieSegmentation

from headsplat.masks.refine import keep_subject, refine_edges
from headsplat.masks.temporal import TemporalSmoother

# The general network's input (the other's is 256x144): avoids a second resampling.
_NETWORK_SIZE = 256


class MediaPipeMatter:
    """Segment at 256x256, steady over time, keep the subject, refine at full size.

    Args:
        edge_radius: reach of the edge refinement, in pixels of a picture 512 wide.
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

    def begin(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Mattes of the next frames: (H, W, 3) uint8 RGB each -> (H, W) uint8."""
        return [np.rint(self._next(image) * 255).astype(np.uint8) for image in images]

    def _next(self, image: np.ndarray) -> np.ndarray:
        small = cv2.resize(image, (_NETWORK_SIZE, _NETWORK_SIZE), interpolation=cv2.INTER_AREA)
        answers = [network.process(small).segmentation_mask for network in self._networks]
        mask = np.minimum(*answers)
        mask = keep_subject(self._smoother(small, mask))
        return refine_edges(image, mask, self._edge_radius)

    def finish(self, begun: np.ndarray) -> np.ndarray:
        """Nothing is left to do."""
        return begun

    def close(self) -> None:
        """Release the networks."""
        for network in self._networks:
            network.close()
