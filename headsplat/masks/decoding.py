"""Image decoding with OpenCV, which releases Python's lock; Pillow does not.

Both use the same JPEG library and give equal pixels.
"""

import cv2
import numpy as np

from headsplat.runtime.errors import UserError


def decode_rgb(data: bytes) -> np.ndarray:
    """Decode an image to uint8 (H, W, 3) RGB.

    Raises:
        UserError: the bytes are not an image.
    """
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise UserError("an image of the chunk cannot be decoded; remake the frames")
    return image
