"""The one face of a single image, for checks of what was imported."""

from functools import cached_property

import numpy as np


class FaceDetector:
    """Finds the face of an image; images are independent of one another."""

    def __call__(self, image: np.ndarray) -> np.ndarray | None:
        """(H, W, 3) uint8 RGB -> (478, 3) MediaPipe points in its pixels, or None."""
        from headsplat.detect.tracker import FaceTracker

        found = FaceTracker(self._models).step(1, image)
        return found[0][0] if found else None

    @cached_property
    def _models(self):
        # MediaPipe takes seconds to load, and only some imports look at images.
        from headsplat.detect.mediapipe_models import FaceModels

        return FaceModels()
