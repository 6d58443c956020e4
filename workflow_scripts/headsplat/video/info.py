"""What probing learned about a video: the record that every later stage reads."""

from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

from headsplat.errors import UserError
from headsplat.files import read_json, write_json
from headsplat.storage import AGAIN
from headsplat.video.timeline import FPS


@dataclass(frozen=True)
class VideoInfo:
    """The contents of `video.json`.

    Attributes:
        path: the video as it was given.
        bytes, sha256: size and hash of the file.
        width, height: size in pixels of the upright picture with square pixels.
        rotation: degrees counter-clockwise by which the stored picture is turned for display.
        source_fps: mean picture rate of the source, exact.
        n_source: decodable source pictures.
        n_undecodable: source pictures that are in the file but do not decode.
        n_frames: pictures at 25 per second.
        duration: seconds.
        pts: per id, the time stamp (ticks) of the source picture used.
        keyframes: time stamps at which decoding can start.
        undecodable: ids whose own source picture is damaged.
        time_base: seconds per tick.
        audio: None or {"sample_rate", "channels"}.
        hdr: the source has a PQ or HLG transfer curve.
    """

    path: str
    bytes: int
    sha256: str
    width: int
    height: int
    rotation: int
    source_fps: Fraction
    n_source: int
    n_undecodable: int
    n_frames: int
    duration: float
    pts: list[int]
    keyframes: list[int]
    undecodable: list[int]
    time_base: Fraction
    audio: dict[str, int] | None
    hdr: bool

    def save(self, path: Path) -> None:
        """Publish as `video.json`."""
        value = asdict(self)
        for key in ("source_fps", "time_base"):
            value[key] = [value[key].numerator, value[key].denominator]
        write_json(path, {**value, "fps": FPS})

    @classmethod
    def load(cls, path: Path) -> "VideoInfo":
        """Read `video.json`; a missing key is a `UserError`."""
        value = read_json(path)
        try:
            fields = {key: value[key] for key in cls.__dataclass_fields__}
            for key in ("source_fps", "time_base"):
                fields[key] = Fraction(*fields[key])
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise UserError(f"{path}: not the record of a video ({error!r}); {AGAIN}") from error
        return cls(**fields)
