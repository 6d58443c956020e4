"""Faces cut out and turned to ArcFace's template, by five points."""

import cv2
import numpy as np

SIZE = 112
# ArcFace's template for 112 pixels: eyes, nose, corners of the mouth, from the image's left.
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655],
     [70.7299, 92.2041]]
)  # fmt: skip
# The same points in MediaPipe's mesh: centers of the irises, tip of the nose, corners of the mouth.
FIVE = (468, 473, 4, 61, 291)
_EYES_68 = (slice(36, 42), slice(42, 48))


def five_of_68(points: np.ndarray) -> np.ndarray:
    """(68, 2) landmarks in Multi-PIE's order -> (5, 2): means of the eyes, nose, mouth corners."""
    eyes = [points[part].mean(0) for part in _EYES_68]
    return np.stack([*eyes, points[30], points[48], points[54]])


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The rotation, scale and shift that bring `source` nearest to `target` (Umeyama 1991).

    Args:
        source: (n, 2).
        target: (n, 2).

    Returns:
        (2, 3): target ~ M[:, :2] source + M[:, 2], never a mirror image.
    """
    a, b = source - source.mean(0), target - target.mean(0)
    left, scales, right = np.linalg.svd(b.T @ a)
    signs = np.array([1.0, np.sign(np.linalg.det(left @ right))])
    turn = (left * signs) @ right * ((scales * signs).sum() / np.square(a).sum())
    return np.concatenate([turn, (target.mean(0) - turn @ source.mean(0))[:, None]], 1)


def template_error(five: np.ndarray) -> float:
    """Root mean square distance to the template after alignment, in pixels of the 112.

    Small for a face that looks into the camera.
    """
    fit = similarity(five, TEMPLATE)
    moved = five @ fit[:, :2].T + fit[:, 2]
    return float(np.sqrt(np.square(moved - TEMPLATE).sum(1).mean()))


def aligned_face(image: np.ndarray, five: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 image -> (112, 112, 3) uint8, black outside the image.

    Args:
        image: the image.
        five: (5, 2) continuous pixels (the first pixel's center is 0.5).
    """
    # The template, and OpenCV, count from the center of the first pixel.
    fit = similarity(five - 0.5, TEMPLATE)
    return cv2.warpAffine(image, fit, (SIZE, SIZE), flags=cv2.INTER_LINEAR)
