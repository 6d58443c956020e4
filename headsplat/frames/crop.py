"""`crop.json`, the square crop window of a clip, and its mapping of points and intrinsics."""

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
