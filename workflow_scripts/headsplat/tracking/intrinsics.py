"""Focal length: given, found from perspective when the head turns enough, or a stated default."""

import math
from dataclasses import dataclass

import numpy as np

from headsplat.crop import Crop
from headsplat.errors import UserError

# Portrait video shows about this much of the world over the shorter side of the picture; between
# a webcam (45 degrees) and a cropped broadcast (12).
DEFAULT_FIELD_OF_VIEW = 25.0
# The estimate is used when the clip narrows log f to less than this (the prior has 0.3).
OBSERVABLE = 0.15


@dataclass(frozen=True)
class Intrinsics:
    """Focal length in crop pixels and principal point in the crop; `fixed` if the user gave it."""

    focal: float
    centre: tuple[float, float]
    fixed: bool

    def matrix(self, focal: float | None = None) -> np.ndarray:
        """(3, 3) K, with another focal length if one is given."""
        value = self.focal if focal is None else focal
        return np.array(
            [[value, 0, self.centre[0]], [0, value, self.centre[1]], [0, 0, 1]], dtype=np.float64
        )


def default_intrinsics(crop: Crop) -> Intrinsics:
    """The stated default: the principal point at the source's centre, carried by the crop."""
    short = min(crop.source_width, crop.source_height)
    focal = 0.5 * short / math.tan(math.radians(DEFAULT_FIELD_OF_VIEW) / 2)
    return Intrinsics(focal * crop.scale, crop.centre(), fixed=False)


def given_intrinsics(text: str, crop: Crop) -> Intrinsics:
    """From "fx,fy,cx,cy" in source pixels.

    Raises:
        UserError: not four numbers, pixels that are not square, or a principal point outside the
            source picture (intrinsics of another picture size).
    """
    try:
        fx, fy, cx, cy = (float(part) for part in text.split(","))
    except ValueError as error:
        raise UserError(
            f"intrinsics '{text}': expected four numbers fx,fy,cx,cy in pixels of the source video"
        ) from error
    if not (fx > 0 and fy > 0 and abs(fx / fy - 1) < 0.02):
        raise UserError(
            f"intrinsics '{text}': fx and fy must be positive and within 2 % of each other; "
            "rescale the video to square pixels"
        )
    if not (0 <= cx <= crop.source_width and 0 <= cy <= crop.source_height):
        raise UserError(
            f"intrinsics '{text}': principal point outside the {crop.source_width}x"
            f"{crop.source_height} source; give intrinsics for this picture size"
        )
    source = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    matrix = crop.intrinsics(source)
    focal = math.sqrt(matrix[0, 0] * matrix[1, 1])
    return Intrinsics(focal, (float(matrix[0, 2]), float(matrix[1, 2])), fixed=True)
