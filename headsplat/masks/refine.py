"""From a coarse person mask to a matte: keep the subject, follow the image's edges, sharpen.

The edge filter is OpenCV's color guided filter (He, Sun, Tang: Guided Image Filtering, 2013) in
its subsampled form (He, Sun: Fast Guided Filter, 2015); mediapipe's wheel brings the contrib
build of OpenCV that holds it.
"""

import cv2
import numpy as np

# The guide's variance, relative to white squared, below which the filter smooths across: the
# contrast of hair against a wall of its own brightness is just above it.
_EDGE_CONTRAST = 1e-4
# A person mask answers about 0.02 far from any person and about 0.98 inside; what lies beyond
# these two limits becomes exactly 0 or 1 and the rest is stretched between them.
_CLEAR, _SOLID = 0.15, 0.85
# After the first pass a pixel outside these limits counts as decided; what the second
# pass leaves outside the last limits is its ringing.
_DECIDED = 0.3, 0.7
_FINAL = 0.1, 0.9
# The filter's own radius, of the reach: two passes carry further than one.
_CLOSER = 0.75
_REFERENCE_SIZE = 512


def keep_subject(coarse: np.ndarray) -> np.ndarray:
    """Silence everything that does not touch the subject, e.g. a bystander at the border.

    Args:
        coarse: (H, W) float32 person probability.

    Returns:
        (H, W) float32: a copy that is 0 outside one connected component of `coarse > 0.1`, the
        one with the most mass near the center, because the crop is laid around the subject.
    """
    count, labels = cv2.connectedComponents((coarse > 0.1).astype(np.uint8), connectivity=8)
    if count <= 2:
        return coarse.copy()
    return np.where(labels == central_component(labels, count, coarse), coarse, np.float32(0))


def central_component(labels: np.ndarray, count: int, coarse: np.ndarray) -> int:
    """The component with the most mass near the center of the image.

    Args:
        labels: (H, W) int32, 0 where there is none.
        count: of components, 0 included.
        coarse: (H, W) float32, the mass.
    """
    height, width = coarse.shape
    y = (np.arange(height, dtype=np.float32) + 0.5) / height - 0.5
    x = (np.arange(width, dtype=np.float32) + 0.5) / width - 0.5
    nearness = np.exp(-8 * (x[None] ** 2 + y[:, None] ** 2))
    mass = np.bincount(labels.ravel(), (coarse * nearness).ravel(), minlength=count)
    mass[0] = 0
    return int(mass.argmax())


def refine_edges(image: np.ndarray, coarse: np.ndarray, radius: float) -> np.ndarray:
    """Pull a coarse mask onto the edges of the image and sharpen it to a clean matte.

    One pass finds the edge within the coarse mask's uncertainty, a second one follows it: a single
    pass leaves a veil over the background, as wide as its reach.

    Args:
        image: (H, W, 3) uint8 RGB.
        coarse: (h, w) float32 person probability at any resolution of the same window.
        radius: reach of the edge search in pixels of an image 512 wide; 0 leaves the edges.

    Returns:
        (H, W) float32 in [0, 1]: exactly 0 in the background and exactly 1 inside, fractions
        only within `radius` of the coarse mask's border.
    """
    height, width = image.shape[:2]
    full = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    reach = round(radius * width / _REFERENCE_SIZE)
    if reach == 0:
        return _stretched(full, _CLEAR, _SOLID)
    closely = max(1, round(_CLOSER * reach))
    follow = cv2.ximgproc.createGuidedFilter(image, closely, _EDGE_CONTRAST * 255.0**2, scale=0.5)
    edges = follow.filter(_stretched(follow.filter(full), *_DECIDED))
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    inside = cv2.erode((full > _SOLID).astype(np.uint8), kernel) > 0
    reachable = cv2.dilate((full > _CLEAR).astype(np.uint8), kernel)
    return np.where(inside, np.float32(1), _stretched(edges, *_FINAL) * reachable)


def _stretched(mask: np.ndarray, low: float, high: float) -> np.ndarray:
    """(H, W) float32: `low` becomes 0, `high` becomes 1."""
    return np.clip((mask - np.float32(low)) * np.float32(1 / (high - low)), 0, 1)
