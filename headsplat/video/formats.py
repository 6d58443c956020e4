"""File formats of videos to write, by suffix: H.264, and three with an alpha channel.

Alpha is straight, as players and editors expect it: colors are not multiplied by it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from headsplat.runtime.errors import UserError, shown

BITEXACT = "+bitexact"


@dataclass(frozen=True)
class SoundFormat:
    """Encoding of sound.

    Attributes:
        codec: FFmpeg's name of the encoder.
        block: samples per packet.
        samples: FFmpeg's name of the layout of samples: planar (`fltp`) or interleaved (`flt`).
        rates: Hz; others are resampled.
    """

    codec: str
    block: int
    samples: str
    rates: tuple[int, ...]


# Lower rates are resampled: a block of theirs lasts longer than an image, so the sound would.
AAC = SoundFormat("aac", 1024, "fltp", (96000, 88200, 64000, 48000, 44100))
OPUS = SoundFormat("libopus", 960, "flt", (48000,))


@dataclass(frozen=True)
class VideoFormat:
    """Encoding of a video's images and sound.

    Attributes:
        container: FFmpeg's name of the container; "" for a zip of PNG images.
        codec: FFmpeg's name of the encoder of images.
        pixels: FFmpeg's name of the pixel format.
        alpha: whether images have an alpha channel.
        options: of the encoder.
        sound: encoding of the sound; None for none.
        muxer: options of the container.
        even: whether sizes must be even.
    """

    container: str
    codec: str
    pixels: str
    alpha: bool
    options: Mapping[str, str] = field(default_factory=dict)
    sound: SoundFormat | None = None
    muxer: Mapping[str, str] = field(default_factory=dict)
    even: bool = False


MP4, PNG_ZIP = ".mp4", ".png.zip"
FORMATS = {
    # x264's macroblock tree is not deterministic for widths such as 96, 320 or 528.
    MP4: VideoFormat(
        "mp4", "libx264", "yuv420p", False, {"x264-params": "mbtree=0"}, AAC,
        {"movflags": "+faststart"}, even=True,
    ),
    ".mov": VideoFormat(
        "mov", "prores_ks", "yuva444p10le", True,
        {"profile": "4444", "alpha_bits": "16", "vendor": "apl0"}, AAC, {"movflags": "+faststart"},
    ),
    # libvpx has no alternate reference frames with alpha.
    ".webm": VideoFormat(
        "webm", "libvpx-vp9", "yuva420p", True,
        {"crf": "16", "b": "0", "auto-alt-ref": "0", "lag-in-frames": "0", "cpu-used": "4"}, OPUS,
        even=True,
    ),
    PNG_ZIP: VideoFormat("", "png", "rgba", True),
}  # fmt: skip


def suffix_of(path: Path | str) -> str:
    """The key of `FORMATS` that a file's name ends in.

    Raises:
        UserError: it ends in none of them.
    """
    name = Path(path).name
    for suffix in FORMATS:
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return suffix
    raise UserError(
        f"{shown(str(path))}: cannot be written as a video; end its name in {', '.join(FORMATS)}"
    )
