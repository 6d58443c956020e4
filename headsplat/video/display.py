"""Display geometry of decoded frames: orientation, pixel aspect, and upright RGB images."""

import struct
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from av.video.frame import VideoFrame

from headsplat.video.color import Colors, RgbConverter


@dataclass(frozen=True)
class Orientation:
    """Display matrix as a transposition followed by mirroring of the stored image."""

    transpose: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    @classmethod
    def of(cls, frame: VideoFrame) -> "Orientation":
        """Orientation of a frame's display matrix, rounded to quarter turns."""
        data = frame.side_data.get("DISPLAYMATRIX")
        if data is None:
            return cls()
        # Row vectors: (x', y') = (x, y) @ [[a, b], [c, d]], 16.16 fixed point (ISO 14496-12).
        a, b, _, c, d = struct.unpack("=9i", bytes(data))[:5]
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, a < 0, d < 0)
        return cls(True, c < 0, b < 0)

    @property
    def rotation(self) -> int:
        """Degrees counter-clockwise from stored to displayed image: 0, 90, 180 or 270."""
        if self.transpose:
            return 90 if self.mirror_y else 270
        return 180 if self.mirror_y else 0

    def apply(self, image: np.ndarray) -> np.ndarray:
        """The displayed image, contiguous (H, W, 3)."""
        if self.transpose:
            image = image.transpose(1, 0, 2)
        if self.mirror_x:
            image = image[:, ::-1]
        if self.mirror_y:
            image = image[::-1]
        return np.ascontiguousarray(image)


@dataclass(frozen=True)
class Shape:
    """Size of a stored image in pixels, and its orientation."""

    width: int
    height: int
    orientation: Orientation

    def display_size(self, aspect: Fraction | None) -> tuple[int, int]:
        """(width, height) of the upright image with square pixels.

        Args:
            aspect: sample aspect ratio (pixel width over height); None for square pixels.
        """
        width = max(1, round(self.width * (aspect or 1)))
        size = (width, self.height)
        return size[::-1] if self.orientation.transpose else size


class ShapeReader:
    """Shapes of frames; reads the display matrix only after a change.

    Reading side data puts a frame into a reference cycle, and frames that wait for the garbage
    collector occupy hundreds of megabytes.
    """

    def __init__(self) -> None:
        self._key: tuple[int, int, int] | None = None
        self._shape: Shape | None = None

    def of(self, frame: VideoFrame) -> Shape:
        """Shape of the next frame in display order; the first one must be a key frame.

        Streams that carry their rotation themselves may do so at key frames only.
        """
        turn = frame.rotation
        known = self._shape is None or frame.key_frame or turn != 0
        key = frame.width, frame.height, turn if known else self._key[2]
        if key != self._key:
            orientation = Orientation.of(frame) if known else self._shape.orientation
            self._key, self._shape = key, Shape(frame.width, frame.height, orientation)
        return self._shape


class UprightConverter:
    """Convert decoded frames to upright RGB images, uint8 (height, width, 3).

    Frames of another shape are scaled to fit, centered, and padded with black.

    Args:
        width, height: size of the images in pixels.
        aspect: sample aspect ratio (pixel width over height); None for square pixels.
        fine: see `RgbConverter`.
        container: color metadata of the container.
    """

    def __init__(
        self, width: int, height: int, aspect: Fraction | None, fine: bool, container: Colors
    ) -> None:
        self._size = width, height
        self._aspect = aspect
        self._to_rgb = RgbConverter(fine, container)

    def __call__(self, frame: VideoFrame, shape: Shape) -> np.ndarray:
        """The image of a frame with the given shape."""
        width, height = fit_inside(shape.display_size(self._aspect), self._size)
        turned = shape.orientation.transpose
        stored = (height, width) if turned else (width, height)
        part = shape.orientation.apply(self._to_rgb(frame, *stored))
        if (width, height) == self._size:
            return part
        image = np.zeros((self._size[1], self._size[0], 3), np.uint8)
        left, top = (self._size[0] - width) // 2, (self._size[1] - height) // 2
        image[top : top + height, left : left + width] = part
        return image


def fit_inside(image: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """Largest (width, height) with the aspect ratio of `image` that fits into `size`."""
    scale = min(Fraction(size[0], image[0]), Fraction(size[1], image[1]))
    return tuple(
        max(1, min(whole, round(side * scale))) for side, whole in zip(image, size, strict=True)
    )
