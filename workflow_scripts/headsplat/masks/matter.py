"""What a matting model owes the pipeline."""

from typing import Protocol

import numpy as np


class Matter(Protocol):
    """A matting model fed with the frames of a clip one after another, in order.

    It may keep state between frames (a recurrent network does). `warm_up` is how many frames
    before the first wanted one it must be shown for its state to have settled.
    """

    warm_up: int

    def matte(self, image: np.ndarray) -> np.ndarray:
        """Matte of the next frame: (H, W, 3) uint8 RGB -> (H, W) float32 in [0, 1]."""
        ...

    def close(self) -> None:
        """Release the model."""
        ...
