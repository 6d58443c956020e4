"""Image decoding with OpenCV, which releases Python's lock; Pillow does not.

Both use the same JPEG library and give equal pixels. Pillow reads the header first, because OpenCV
takes memory for any size that a file claims.
"""

import cv2
import numpy as np

from headsplat.frames.images import image_size
from headsplat.frames.packs import FrameStore
from headsplat.runtime.errors import UserError


def decode_rgb(
    data: bytes, name: str = "an image of the chunk", size: tuple[int, int] | None = None
) -> np.ndarray:
    """Decode an image to uint8 (H, W, 3) RGB.

    Args:
        data: bytes of the file.
        name: of the file, for the message.
        size: (width, height) that the image must have, or None.

    Raises:
        UserError: not an image, damaged, of another size, or with more pixels than
            `headsplat.frames.images.MOST_PIXELS`.
    """
    width, height = image_size(data, name)
    if size is not None and (width, height) != size:
        raise UserError(
            f"{name}: is {width} x {height} pixels, expected {size[0]} x {size[1]}; give the "
            "images of one clip, those of its track"
        )
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error:
        image = None
    if image is None or image.shape[1::-1] != (width, height):
        raise UserError(f"{name}: cannot be decoded; remake the frames")
    return image


def read_rgb(
    store: FrameStore, frame_id: int, size: tuple[int, int] | None = None, role: str = ""
) -> np.ndarray:
    """An image of a clip, (H, W, 3) uint8 RGB; errors as `decode_rgb`, and name file and frame."""
    name = f"frame {frame_id} of {store.names()}"
    return decode_rgb(store.read(frame_id, role), name, size)
