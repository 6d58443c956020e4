"""The colours of a face at the points of its mesh: what one face is told from another by."""

import cv2
import numpy as np

SKIN_POINTS = 468  # the mesh without the irises
FACE_PIXELS = 64  # longer side of the face's box that is sampled, so that size does not matter


def face_colours(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Colours under the points of the mesh, of a face brought to 64 pixels.

    A point outside the image gets the colour of the nearest edge.

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
    box = np.ascontiguousarray(image[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)])
    rows, columns = box.shape[:2]
    share = min(1.0, FACE_PIXELS / max(rows, columns))
    small = (max(1, round(columns * share)), max(1, round(rows * share)))
    if share < 1:
        box = cv2.resize(box, small, interpolation=cv2.INTER_AREA)
    at = (xy - (x0, y0)) * (small[0] / columns, small[1] / rows) - 0.5
    at = at.astype(np.float32)[:, None]
    return cv2.remap(box, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0]
