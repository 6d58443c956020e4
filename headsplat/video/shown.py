"""From decoded frames to upright images of one size, whatever changes inside the file."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from av.video.frame import VideoFrame

from headsplat.video.color import Colors, RgbConverter
from headsplat.video.orientation import Orientation


@dataclass(frozen=True)
class Shape:
    """Size of a stored image in pixels, and how it is turned for display."""

    width: int
    height: int
    orientation: Orientation

    def shown(self, aspect: Fraction | None) -> tuple[int, int]:
        """Width and height of the upright image with square pixels.

        Args:
            aspect: width of a stored pixel over its height; None for square ones.
        """
        width = max(1, round(self.width * (aspect or 1)))
        size = (width, self.height)
        return size[::-1] if self.orientation.transpose else size


class Shapes:
    """Shapes of frames; looks at the display matrix only when something has changed.

    Looking at side data ties a frame into a reference cycle, and frames that wait for the
    garbage collector take hundreds of megabytes.
    """

    def __init__(self) -> None:
        self._key: tuple[int, int, int] | None = None
        self._shape: Shape | None = None

    def of(self, frame: VideoFrame) -> Shape:
        """Shape of a frame; frames come in display order, the first one a key frame.

        Streams that tell themselves how they are turned may do so at key frames only.
        """
        turn = frame.rotation
        told = self._shape is None or frame.key_frame or turn != 0
        key = frame.width, frame.height, turn if told else self._key[2]
        if key != self._key:
            orientation = Orientation.of(frame) if told else self._shape.orientation
            self._key, self._shape = key, Shape(frame.width, frame.height, orientation)
        return self._shape


class ImageMaker:
    """Make upright RGB images, uint8 (height, width, 3), of decoded frames.

    Frames of another shape are fitted in: as large as possible, their aspect kept, the middle
    in the middle, black around them.

    Args:
        width, height: of the images.
        aspect: width of a stored pixel over its height; None for square ones.
        fine: see `RgbConverter`.
        container: what the container says of the colors.
    """

    def __init__(
        self, width: int, height: int, aspect: Fraction | None, fine: bool, container: Colors
    ) -> None:
        self._size = width, height
        self._aspect = aspect
        self._to_rgb = RgbConverter(fine, container)

    def __call__(self, frame: VideoFrame, shape: Shape) -> np.ndarray:
        """The image of a frame of some shape."""
        width, height = fitted(shape.shown(self._aspect), self._size)
        turned = shape.orientation.transpose
        stored = (height, width) if turned else (width, height)
        part = shape.orientation.apply(self._to_rgb(frame, *stored))
        if (width, height) == self._size:
            return part
        image = np.zeros((self._size[1], self._size[0], 3), np.uint8)
        left, top = (self._size[0] - width) // 2, (self._size[1] - height) // 2
        image[top : top + height, left : left + width] = part
        return image


def fitted(shown: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """Width and height of a `shown` image inside `size`, as large as its aspect allows."""
    scale = min(Fraction(size[0], shown[0]), Fraction(size[1], shown[1]))
    return tuple(
        max(1, min(whole, round(side * scale))) for side, whole in zip(shown, size, strict=True)
    )
