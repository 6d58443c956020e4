"""Image coding (Pillow): RGB uint8 (H, W, 3) and masks uint8 (H, W)."""

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from headsplat.runtime.errors import UserError, one_line
from headsplat.runtime.regular import read_regular

# Of an image that is read: one of 8K video has 33 million. A file of a few kB may claim any number.
MOST_PIXELS = 40_000_000
_LARGEST = 256 << 20  # bytes of a file
# Others of Pillow's formats are not used here, and some of their readers start other programs.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
_DAMAGE = (
    ArithmeticError, EOFError, LookupError, MemoryError, OSError, SyntaxError, TypeError,
    ValueError, struct.error, zlib.error,
)  # fmt: skip
# Pillow's own bound is five times ours, and it prints warnings before.
Image.MAX_IMAGE_PIXELS = None


def encode_jpeg(image: np.ndarray, quality: int = 98) -> bytes:
    """JPEG without chroma subsampling, so that lips and irises keep their color edges."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def encode_png(image: np.ndarray) -> bytes:
    """PNG at the fastest compression level: these files are read more often than kept."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def decode_image(data: bytes, name: str = "an image") -> np.ndarray:
    """Decode to uint8 (H, W, 3) RGB, or (H, W) for single-channel images.

    Args:
        data: the file's bytes.
        name: of the file, for the message.

    Raises:
        UserError: no image, damaged, or of more than `MOST_PIXELS`.
    """
    with _opened(data, name) as image:
        return pixels(image, "L" if image.mode == "L" else "RGB")


@contextmanager
def open_image(path: Path | str) -> Iterator[Image.Image]:
    """A foreign image file, of which nothing but the header is decoded yet.

    Raises:
        UserError: as `decode_image`, also where the context decodes it; and it cannot be opened.
    """
    try:
        data = read_regular(path, _LARGEST)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read as an image ({error.strerror}); replace it"
        ) from error
    with _opened(data, str(path)) as image:
        yield image


def pixels(image: Image.Image, mode: str) -> np.ndarray:
    """An opened image as uint8 of mode "L" or "RGB".

    Pillow cuts gray values of 16 bits off at 255, which makes the whole image white.
    """
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    return np.array(image.convert(mode))


def read_image_file(path: Path | str) -> np.ndarray:
    """As `decode_image`, of a file; errors as `open_image`."""
    with open_image(path) as image:
        return pixels(image, "L" if image.mode == "L" else "RGB")


@contextmanager
def _opened(data: bytes, name: str) -> Iterator[Image.Image]:
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise UserError(
                    f"{name}: is {image.width} x {image.height} pixels, more than "
                    f"{MOST_PIXELS // 1_000_000} million; scale it down"
                )
            yield image
    except _DAMAGE as error:
        raise UserError(
            f"{name}: cannot be read as an image ({one_line(error)}); replace it"
        ) from error
