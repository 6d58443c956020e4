"""Decoding of images on threads: OpenCV's, which lets others run meanwhile, as Pillow's does not.

Both give the same pixels: they rest on the same library.
"""

import cv2
import numpy as np

from headsplat.runtime.errors import UserError


def decode_rgb(data: bytes) -> np.ndarray:
    """Decode to uint8 (H, W, 3) RGB.

    Raises:
        UserError: the bytes are no image.
    """
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise UserError("an image of the chunk cannot be decoded; remake the frames")
    return image
