"""Picture coding (Pillow): RGB uint8 (H, W, 3) and masks uint8 (H, W)."""

import io

import numpy as np
from PIL import Image


def encode_jpeg(image: np.ndarray, quality: int = 98) -> bytes:
    """JPEG without chroma subsampling, so that lips and irises keep their colour edges."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def encode_png(image: np.ndarray) -> bytes:
    """PNG at the fastest compression level: these files are read more often than kept."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def decode_image(data: bytes) -> np.ndarray:
    """Decode to uint8 (H, W, 3) RGB, or (H, W) for single-channel pictures."""
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image if image.mode == "L" else image.convert("RGB"))
