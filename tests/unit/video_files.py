"""Small videos for the tests of the video part, made with PyAV directly."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

GOP = "keyint=20:min-keyint=20:scenecut=0:bframes=3:b-adapt=0"


def numbered_image(index: int, width: int = 160, height: int = 120) -> np.ndarray:
    """An image that shows its number as 8 black or white blocks along the top."""
    image = np.full((height, width, 3), (90, 120, 150), np.uint8)
    for bit in range(8):
        left = bit * width // 8
        image[: height // 2, left : left + width // 8] = 255 * (index >> bit & 1)
    return image


def number_of(image: np.ndarray) -> int:
    """The number that a decoded `numbered_image` shows."""
    height, width = image.shape[:2]
    row = image[height // 4, :, 1]
    return sum(int(row[bit * width // 8 + width // 16] > 127) << bit for bit in range(8))


def make_video(
    path: Path,
    stamps: Iterable[int],
    time_base: Fraction,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
    size: tuple[int, int] = (160, 120),
    transfer: int | None = None,
    rate: int = 30,
) -> Path:
    """Encode image 0, 1, ... at the given time stamps; `rate` is what the stream declares."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=rate, options=options or {"x264-params": GOP})
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        stream.codec_context.time_base = stream.time_base = time_base
        if transfer is not None:
            stream.codec_context.color_trc = transfer
            stream.codec_context.color_primaries = stream.codec_context.colorspace = 9
        for index, stamp in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(numbered_image(index, *size), format="rgb24")
            frame.pts, frame.time_base = stamp, time_base
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path
