"""Where the one square lies that the whole clip is cropped to."""

import numpy as np

from headsplat.detect.subject import face_heights
from headsplat.frames.crop import Crop

TAIL = 2.0  # percent of the frames on each side whose face boxes may stick out
# Room around the faces' boxes, in face heights (forehead to chin): as wanted for hair and
# neck, and the least before black borders are taken into account.
WANTED = {"left": 0.5, "right": 0.5, "top": 0.5, "bottom": 0.5}
LEAST = {"left": 0.2, "right": 0.2, "top": 0.3, "bottom": 0.15}


def solve_crop_box(points: np.ndarray, source_size: tuple[int, int], size: int) -> Crop:
    """Square around the head in all but the most extreme frames.

    The union of the faces' boxes is taken between percentiles, widened by half a face height
    on every side, and cut to the image, because outside there is nothing to see. Where the
    image is too narrow for that square, the room shrinks, down to a minimum, before the
    square leaves the image.

    Args:
        points: (n, 478, 3) px, the frames with a face.
        source_size: (width, height) of the source image.
        size: side of the cropped images in pixels.
    """
    image = np.array(source_size, float)
    low = np.percentile(points[..., :2].min(axis=1), TAIL, axis=0)
    high = np.percentile(points[..., :2].max(axis=1), 100 - TAIL, axis=0)
    face = float(np.median(face_heights(points)))
    for room in (WANTED, LEAST):
        box_low = np.clip(low - face * np.array([room["left"], room["top"]]), 0, image)
        box_high = np.clip(high + face * np.array([room["right"], room["bottom"]]), 0, image)
        side = round(float((box_high - box_low).max()))
        if side <= image.min():
            break
    if room is LEAST:
        side = max(side, int(image.min()))
    corner = np.rint((box_low + box_high - side) / 2)
    slack = image - side
    corner = np.clip(corner, np.minimum(slack, 0), np.maximum(slack, 0))
    return Crop(int(corner[0]), int(corner[1]), side, size, *source_size)
