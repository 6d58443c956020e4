"""Focal length: given, estimated when the head turns enough, or a default."""

import math
from dataclasses import dataclass

import numpy as np

from headsplat.frames.crop import Crop
from headsplat.runtime.errors import UserError

# Default field of view over the shorter side, degrees: between a webcam (45) and a cropped
# broadcast (12).
DEFAULT_FIELD_OF_VIEW = 25.0
# The estimate is used if the posterior deviation of log f is below this (prior: 0.3).
OBSERVABLE = 0.15

# Largest offset of the principal point, as a share of the image; more means another image size.
OFF_CENTER = 0.2
_EXPECTED = (
    "intrinsics '{}': expected fx,fy,cx,cy in pixels of the source video, and after them, if you "
    "like, the width and height they belong to"
)


@dataclass(frozen=True)
class Intrinsics:
    """Focal length in crop pixels and principal point in the crop; `fixed` if the user gave it."""

    focal: float
    center: tuple[float, float]
    fixed: bool

    def matrix(self, focal: float | None = None) -> np.ndarray:
        """(3, 3) K, with another focal length if one is given."""
        value = self.focal if focal is None else focal
        return np.array(
            [[value, 0, self.center[0]], [0, value, self.center[1]], [0, 0, 1]], dtype=np.float64
        )


def default_intrinsics(crop: Crop) -> Intrinsics:
    """Default intrinsics: principal point at the center of the source image, mapped to the crop."""
    short = min(crop.source_width, crop.source_height)
    focal = 0.5 * short / math.tan(math.radians(DEFAULT_FIELD_OF_VIEW) / 2)
    return Intrinsics(focal * crop.scale, crop.center(), fixed=False)


def given_intrinsics(text: str, crop: Crop) -> Intrinsics:
    """From "fx,fy,cx,cy" or "fx,fy,cx,cy,width,height" in source pixels.

    Raises:
        UserError: not four or six numbers, pixels that are not square, or intrinsics of another
            image size: another width and height, or a principal point far from the middle.
    """
    try:
        values = [float(part) for part in text.split(",")]
        fx, fy, cx, cy, *size = values
    except ValueError as error:
        raise UserError(_EXPECTED.format(text)) from error
    if len(size) not in (0, 2) or not np.isfinite(values).all():
        raise UserError(_EXPECTED.format(text))
    if not (fx > 0 and fy > 0 and abs(fx / fy - 1) < 0.02):
        raise UserError(
            f"intrinsics '{text}': fx and fy must be positive and within 2 % of each other; "
            "rescale the video to square pixels"
        )
    width, height = crop.source_width, crop.source_height
    if size and (size[0], size[1]) != (width, height):
        raise UserError(
            f"intrinsics '{text}': they are of a {size[0]:g}x{size[1]:g} image, the video is "
            f"{width}x{height}; scale them to the video's size"
        )
    if abs(cx / width - 0.5) > OFF_CENTER or abs(cy / height - 0.5) > OFF_CENTER:
        raise UserError(
            f"intrinsics '{text}': the principal point is far from the middle of the {width}x"
            f"{height} source; give intrinsics for this image size"
        )
    source = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    matrix = crop.intrinsics(source)
    focal = math.sqrt(matrix[0, 0] * matrix[1, 1])
    return Intrinsics(focal, (float(matrix[0, 2]), float(matrix[1, 2])), fixed=True)
