"""`video.json`: the probed properties of a video that later stages read."""

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
        path: path of the video as the user gave it.
        bytes, sha256: size and hash of the file.
        width, height: size in pixels of the upright image with square pixels.
        rotation: degrees counter-clockwise by which the stored image is turned for display.
        source_fps: mean frame rate of the source, exact.
        n_source: number of decodable source images.
        n_undecodable: number of source images that do not decode.
        n_frames: number of frames at 25 fps.
        duration: seconds.
        pts: time stamp (ticks) of each frame's source image.
        keyframes: for each key frame where decoding can start: packet number in the video stream,
            time stamp, position in the file in bytes (0 if unknown), CRC-32 of its content.
        undecodable: ids of frames whose source image is damaged.
        time_base: seconds per tick.
        audio: None or {"sample_rate", "channels"}.
        hdr: whether the source has a PQ or HLG transfer curve.
        images: number of each frame's source image in display order, from 0.
        packets: packet number of each source image.
        fields: field order of interlaced images, `tff` or `bff`; None for progressive video.
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
        """Write `video.json`."""
        value = asdict(self)
        for key in ("source_fps", "time_base"):
            value[key] = [value[key].numerator, value[key].denominator]
        write_json(path, {**value, "fps": FPS})

    @classmethod
    def load(cls, path: Path) -> "VideoInfo":
        """Read `video.json`; raises `UserError` for a missing or invalid key."""
        value = read_json(path)
        try:
            fields = {key: value[key] for key in cls.__dataclass_fields__}
            for key in ("source_fps", "time_base"):
                fields[key] = Fraction(*fields[key])
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            reason = shown(repr(error))
            raise UserError(f"{path}: not the record of a video ({reason}); {AGAIN}") from error
        return cls(**fields)
