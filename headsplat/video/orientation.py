"""The display matrix of a video: quarter turns and mirrors between stored and shown image."""

import struct
from dataclasses import dataclass

import numpy as np
from av.video.frame import VideoFrame


@dataclass(frozen=True)
class Orientation:
    """Shown image = stored image, transposed first, then mirrored."""

    transpose: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    @classmethod
    def of(cls, frame: VideoFrame) -> "Orientation":
        """Orientation from the frame's display matrix, rounded to quarter turns."""
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
        """Degrees counter-clockwise from stored to shown, in 0, 90, 180, 270."""
        if self.transpose:
            return 90 if self.mirror_y else 270
        return 180 if self.mirror_y else 0

    def apply(self, image: np.ndarray) -> np.ndarray:
        """The shown image, contiguous (H, W, 3)."""
        if self.transpose:
            image = image.transpose(1, 0, 2)
        if self.mirror_x:
            image = image[:, ::-1]
        if self.mirror_y:
            image = image[::-1]
        return np.ascontiguousarray(image)
