"""A second detector, where it is installed: the 68 points of face-alignment (Bulat, ICCV 2017)."""

from typing import Any

import numpy as np

from headsplat.runtime.errors import UserError

POINTS_68 = 68
# The same places in both sets: corners of the eyes, tip of the nose, corners of the mouth.
SAME_68 = (36, 39, 42, 45, 30, 48, 54)
SAME_478 = (33, 133, 362, 263, 4, 61, 291)


class FaceAlignmentPoints:
    """face-alignment's 2D network on faces whose place is known.

    Raises:
        UserError: the package is not installed, or cannot start.
    """

    def __init__(self) -> None:
        try:
            import face_alignment
            import torch
        except ImportError as error:
            raise UserError(
                "detect.second: face_alignment: the package 'face-alignment' is not installed; "
                "install it, or set detect.second to none"
            ) from error
        device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            self._network = face_alignment.FaceAlignment(
                _flat_landmarks(face_alignment.LandmarksType), device=device, flip_input=False
            )
        except (OSError, RuntimeError) as error:
            raise UserError(f"face-alignment cannot start ({error}); see its own help") from error

    def points(self, image: np.ndarray, face: np.ndarray) -> np.ndarray:
        """The 68 points of one face.

        Args:
            image: (H, W, 3) uint8 RGB.
            face: (478, 3) points of the first detector, pixels.

        Returns:
            (68, 2) float32 pixels, NaN where the network finds nothing.
        """
        low, high = face[:, :2].min(0), face[:, :2].max(0)
        box = [*low.tolist(), *high.tolist(), 1.0]
        found = self._network.get_landmarks_from_image(image, detected_faces=[box])
        if not found:
            return np.full((POINTS_68, 2), np.nan, np.float32)
        points = np.asarray(found[0], np.float32)
        if points.shape != (POINTS_68, 2):
            raise UserError(
                f"face-alignment gives {list(points.shape)}, not [68, 2]; use version 1.4"
            )
        return points


def _flat_landmarks(kinds: Any) -> Any:
    """The enum's member for 2D points: `TWO_D` since version 1.4, `_2D` before."""
    for name in ("TWO_D", "_2D"):
        if hasattr(kinds, name):
            return getattr(kinds, name)
    raise UserError("face-alignment's LandmarksType has neither TWO_D nor _2D; use version 1.4")


def disagreement(points: np.ndarray, second: np.ndarray) -> float:
    """Median distance of the two detectors, in parts of the distance of the outer eye corners.

    Args:
        points: (n, 478, 3) pixels, NaN without a face.
        second: (n, 68, 2) pixels, likewise.

    Returns:
        NaN where no frame has both.
    """
    ours = points[:, SAME_478, :2]
    apart = np.linalg.norm(ours - second[:, SAME_68], axis=-1)
    eyes = np.linalg.norm(ours[:, 0] - ours[:, 3], axis=-1)
    share = (apart / eyes[:, None])[np.isfinite(apart).all(1)]
    return float(np.median(share)) if share.size else float("nan")
