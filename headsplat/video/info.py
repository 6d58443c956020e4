"""What probing learned about a video: the record that every later stage reads."""

from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path

from headsplat.runtime.errors import UserError, shown
from headsplat.runtime.files import read_json, write_json
from headsplat.runtime.storage import AGAIN
from headsplat.video.timeline import FPS


@dataclass(frozen=True)
class VideoInfo:
    """The contents of `video.json`.

    Attributes:
        path: the video as it was given.
        bytes, sha256: size and hash of the file.
        width, height: size in pixels of the upright image with square pixels.
        rotation: degrees counter-clockwise by which the stored image is turned for display.
        source_fps: mean image rate of the source, exact.
        n_source: decodable source images.
        n_undecodable: source images that are in the file but do not decode.
        n_frames: images at 25 per second.
        duration: seconds.
        pts: per id, the time stamp (ticks) of the source image used.
        keyframes: where decoding can start: for each key frame its number among the packets of
            the video stream, time stamp, place in the file in bytes (0 if unknown), and CRC-32 of
            its content.
        undecodable: ids whose own source image is damaged.
        time_base: seconds per tick.
        audio: None or {"sample_rate", "channels"}.
        hdr: the source has a PQ or HLG transfer curve.
        images: per id, the number of the source image used, in display order, from 0.
        packets: per source image, the number of the packet that holds it.
        fields: field order of interlaced images, `tff` or `bff`; None for whole ones.
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
    keyframes: list[list[int]]
    undecodable: list[int]
    time_base: Fraction
    audio: dict[str, int] | None
    hdr: bool
    images: list[int] = field(default_factory=list)
    packets: list[int] = field(default_factory=list)
    fields: str | None = None

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
            reason = shown(repr(error))
            raise UserError(f"{path}: not the record of a video ({reason}); {AGAIN}") from error
        return cls(**fields)
