"""The square that a clip is cropped to, as `crop.json` records it."""

from dataclasses import asdict, dataclass
from pathlib import Path

from headsplat.errors import UserError
from headsplat.files import read_json, write_json


@dataclass(frozen=True)
class CropBox:
    """`crop.json`: crop_px = (source_px - (x0, y0)) * size / side, in continuous pixels.

    The box may leave the source picture; outside is black.
    """

    x0: int
    y0: int
    side: int
    size: int
    source_width: int
    source_height: int

    def save(self, path: Path) -> None:
        """Publish as `crop.json`."""
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> "CropBox":
        """Read `crop.json`; a missing key is a `UserError`."""
        value = read_json(path)
        try:
            return cls(**{key: value[key] for key in cls.__dataclass_fields__})
        except KeyError as error:
            raise UserError(f"{path}: the key {error} is missing; remake the file") from error
