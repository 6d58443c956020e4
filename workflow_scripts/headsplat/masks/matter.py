"""What a matting model owes the pipeline."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np


class Matter(Protocol):
    """A matting model fed with the frames of a clip one after another, in order.

    It may keep state between frames (a recurrent network does). `warm_up` is how many frames
    before the first wanted one it must be shown for its state to have settled, `batch` how many
    it likes to be shown at a time.
    """

    warm_up: int
    batch: int

    def matte(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Mattes of the next frames: each (H, W, 3) uint8 RGB -> (H, W) uint8, 255 the subject."""
        ...

    def finish(self, matte: np.ndarray) -> np.ndarray:
        """What is left to do to a matte and needs no order; called from several threads."""
        ...

    def close(self) -> None:
        """Release the model."""
        ...
