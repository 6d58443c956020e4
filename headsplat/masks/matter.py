"""What a matting model owes the pipeline."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np

Begun = TypeVar("Begun")


class Matter(Protocol[Begun]):
    """A matting model fed with the frames of a clip one after another, in order.

    It may keep state between frames (a recurrent network does). `warm_up` is how many frames
    before the first wanted one it must be shown for its state to have settled, `batch` how many
    it likes to be shown at a time.
    """

    warm_up: int
    batch: int

    def begin(self, images: Sequence[np.ndarray]) -> Sequence[Begun]:
        """Begin the mattes of the next frames, each (H, W, 3) uint8 RGB: what needs their order."""
        ...

    def finish(self, begun: Begun) -> np.ndarray:
        """The matte (H, W) uint8, 255 the subject; called from several threads, in any order."""
        ...

    def close(self) -> None:
        """Release the model."""
        ...
