"""`crop.json`, the square crop window of a clip, and its mapping of points and intrinsics."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from headsplat.runtime.errors import UserError, shown
from headsplat.runtime.files import read_json, write_json
from headsplat.runtime.storage import AGAIN


@dataclass(frozen=True)
class Crop:
    """Square crop window: crop = (source - (x0, y0)) * size / side, in continuous pixels.

    The window may extend beyond the source image, where the crop is black.

    Attributes:
        x0, y0: upper left corner in source pixels.
        side: side in source pixels.
        size: side of the cropped image in pixels.
        source_width, source_height: size of the source image in pixels.
    """

    x0: float
    y0: float
    side: float
    size: int
    source_width: int
    source_height: int

    @classmethod
    def around(
        cls,
        low: np.ndarray,
        high: np.ndarray,
        source_size: tuple[int, int],
        size: int,
        least: int = 2,
    ) -> "Crop":
        """The square around a box, moved into the image where it fits there.

        Args:
            low: (2,) the box's corner, source pixels.
            high: (2,) its opposite corner.
            source_size: (width, height) of the source image.
            size: side of the cropped images in pixels.
            least: smallest side in source pixels.
        """
        side = max(least, round(float((high - low).max())))
        corner = np.rint((low + high - side) / 2)
        slack = np.array(source_size, float) - side
        corner = np.clip(corner, np.minimum(slack, 0), np.maximum(slack, 0))
        return cls(int(corner[0]), int(corner[1]), side, size, *source_size)

    def save(self, path: Path) -> None:
        """Write `crop.json`."""
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> "Crop":
        """Read `crop.json`; raises `UserError` for a missing key."""
        value = read_json(path)
        try:
            return cls(**{key: value[key] for key in cls.__dataclass_fields__})
        except (KeyError, TypeError) as error:
            raise UserError(
                f"{path}: not the record of a crop ({shown(repr(error))}); {AGAIN}"
            ) from error

    @property
    def scale(self) -> float:
        """Crop pixels per source pixel."""
        return self.size / self.side

    def points(self, source: np.ndarray) -> np.ndarray:
        """(..., 2 or more) source pixels -> crop pixels; further columns (z) are scaled only."""
        out = np.array(source, dtype=np.float64)
        out[..., :2] -= (self.x0, self.y0)
        return out * self.scale

    def intrinsics(self, source: np.ndarray) -> np.ndarray:
        """Intrinsic matrix K (3, 3) of the source image -> K (3, 3) of the crop."""
        shift = np.array([[1, 0, -self.x0], [0, 1, -self.y0], [0, 0, 1]], dtype=np.float64)
        return np.diag([self.scale, self.scale, 1.0]) @ shift @ source

    def center(self) -> tuple[float, float]:
        """The source image's center (W/2, H/2), its principal point, in crop pixels."""
        return (
            (self.source_width / 2 - self.x0) * self.scale,
            (self.source_height / 2 - self.y0) * self.scale,
        )


def widened(
    low: np.ndarray,
    high: np.ndarray,
    unit: float,
    room: Mapping[str, float],
    source_size: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray]:
    """A box (2,), (2,) in source pixels with room around it, cut to the image.

    Args:
        low: its left upper corner.
        high: its right lower corner.
        unit: pixels.
        room: "left", "right", "top", "bottom" in these units.
        source_size: (width, height) of the image.
    """
    low = low - unit * np.array([room["left"], room["top"]])
    high = high + unit * np.array([room["right"], room["bottom"]])
    return np.clip(low, 0, source_size), np.clip(high, 0, source_size)
