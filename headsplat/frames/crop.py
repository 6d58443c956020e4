"""The one square window of a clip, as `crop.json` records it."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from headsplat.runtime.errors import UserError, shown
from headsplat.runtime.files import read_json, write_json
from headsplat.runtime.storage import AGAIN


@dataclass(frozen=True)
class Crop:
    """crop = (source - (x0, y0)) * size / side, in continuous pixels.

    The window may leave the source image; outside is black.
    """

    x0: float
    y0: float
    side: float
    size: int
    source_width: int
    source_height: int

    def save(self, path: Path) -> None:
        """Publish as `crop.json`."""
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> "Crop":
        """Read `crop.json`; a missing key is a `UserError`."""
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
        """(..., 2+) source pixels -> crop pixels; further columns (MediaPipe's z) are scaled."""
        out = np.array(source, dtype=np.float64)
        out[..., :2] -= (self.x0, self.y0)
        return out * self.scale

    def intrinsics(self, source: np.ndarray) -> np.ndarray:
        """(3, 3) K of the source image -> (3, 3) K of the crop, exactly."""
        shift = np.array([[1, 0, -self.x0], [0, 1, -self.y0], [0, 0, 1]], dtype=np.float64)
        return np.diag([self.scale, self.scale, 1.0]) @ shift @ source

    def center(self) -> tuple[float, float]:
        """Where the source camera's principal point, (W/2, H/2), lies in the crop."""
        return (
            (self.source_width / 2 - self.x0) * self.scale,
            (self.source_height / 2 - self.y0) * self.scale,
        )
