"""Image encoding and decoding with Pillow: RGB uint8 (H, W, 3) and masks uint8 (H, W)."""

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from headsplat.runtime.errors import UserError, one_line
from headsplat.runtime.regular import read_regular

# Bound on decoded images; 8K video has 33 million. A file of a few kB can claim any size.
MOST_PIXELS = 40_000_000
_LARGEST = 256 << 20  # bytes of a file
# Pillow's readers of some other formats start external programs.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
_DAMAGE = (
    ArithmeticError, EOFError, LookupError, MemoryError, OSError, SyntaxError, TypeError,
    ValueError, struct.error, zlib.error,
)  # fmt: skip
# Pillow's own check would print warnings below our bound.
Image.MAX_IMAGE_PIXELS = None


def encode_jpeg(image: np.ndarray, quality: int = 98) -> bytes:
    """Encode as JPEG without chroma subsampling, to keep the color edges of lips and irises."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def encode_png(image: np.ndarray) -> bytes:
    """Encode as PNG at the fastest compression level."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def decode_image(data: bytes, name: str = "an image") -> np.ndarray:
    """Decode to uint8 (H, W, 3) RGB, or (H, W) for single-channel images.

    Args:
        data: bytes of the file.
        name: name of the file, for the message.

    Raises:
        UserError: not an image, damaged, or with more than `MOST_PIXELS` pixels.
    """
    with _opened(data, name) as image:
        return pixels(image, "L" if image.mode == "L" else "RGB")


def decode_small(data: bytes, side: int, name: str = "an image") -> tuple[np.ndarray, int, int]:
    """Decode to gray, (h, w) uint8, at a reduced size; JPEG decodes faster so.

    Args:
        data: bytes of the file.
        side: width and height that the result has at least, if the image has.
        name: name of the file, for the message.

    Returns:
        the pixels, and the image's own width and height; errors as `decode_image`.
    """
    with _opened(data, name) as image:
        width, height = image.size
        image.draft("L", (side, side))
        return pixels(image, "L"), width, height


def image_size(data: bytes, name: str = "an image") -> tuple[int, int]:
    """Width and height that an image's header states; errors as `decode_image`."""
    with _opened(data, name) as image:
        return image.size


@contextmanager
def open_image(path: Path | str) -> Iterator[Image.Image]:
    """Open an untrusted image file; only its header is decoded at first.

    Raises:
        UserError: it cannot be opened; or as `decode_image`, also while the context decodes it.
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
    """Pixels of an opened image as uint8, in mode "L" or "RGB".

    16-bit gray values are scaled here, because Pillow would clip them at 255.
    """
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    return np.array(image.convert(mode))


def upright(image: Image.Image) -> np.ndarray:
    """(H, W, 3) uint8 of an opened image, turned as its EXIF data say, and over white."""
    turned = ImageOps.exif_transpose(image)
    if not turned.has_transparency_data:
        return pixels(turned, "RGB")
    colors = turned.convert("RGBA")
    white = Image.new("RGBA", colors.size, "white")
    return pixels(Image.alpha_composite(white, colors), "RGB")


def read_image_file(path: Path | str) -> np.ndarray:
    """Read an image file as `decode_image` does; errors as `open_image`."""
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
        # Pillow's message would name an object in memory.
        unknown = isinstance(error, UnidentifiedImageError)
        reason = f"it is no {', '.join(_FORMATS)}" if unknown else one_line(error)
        raise UserError(f"{name}: cannot be read as an image ({reason}); replace it") from error
