"""The colors of a face at the points of its mesh: what one face is told from another by."""

import cv2
import numpy as np

SKIN_POINTS = 468  # the mesh without the irises
FACE_PIXELS = 64  # longer side of the face's box that is sampled, so that size does not matter
SAMPLES = 2  # along each side of such a pixel


def face_colors(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Colors under the points of the mesh, of a face brought to 64 pixels.

    A point outside the image gets the color of the nearest edge.

    Args:
        image: RGB uint8 (H, W, 3).
        points: (478, 3) in pixels of the image.

    Returns:
        uint8 (468, 3).
    """
    height, width = image.shape[:2]
    xy = points[:SKIN_POINTS, :2]
    x0, y0 = np.clip(np.floor(xy.min(axis=0)).astype(int), 0, (width - 1, height - 1))
    x1, y1 = np.ceil(xy.max(axis=0)).astype(int)
    # Of large faces a few samples for each of the 64 pixels do.
    stride = max(1, max(x1 - x0, y1 - y0) // (SAMPLES * FACE_PIXELS))
    box = np.ascontiguousarray(image[y0 : max(y1, y0 + 1) : stride, x0 : max(x1, x0 + 1) : stride])
    at = (xy - (x0 + 0.5, y0 + 0.5)) / stride + 0.5
    rows, columns = box.shape[:2]
    share = FACE_PIXELS / max(rows, columns)
    if share < 1:
        small = (max(1, round(columns * share)), max(1, round(rows * share)))
        box = cv2.resize(box, small, interpolation=cv2.INTER_AREA)
        at = at * (small[0] / columns, small[1] / rows)
    at = (at - 0.5).astype(np.float32)[:, None]
    return cv2.remap(box, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0]
