"""MediaPipe's short-range face detector (BlazeFace, Bazarevsky et al. 2019)."""

import cv2
import numpy as np

from headsplat.networks.tflite import TfliteNetwork

PIXELS = 128
# Cells along a side of each feature map, and anchors a cell.
MAPS = ((16, 2), (8, 6))
LEAST_SCORE = 0.5
OVERLAP = 0.3  # intersection over union at which boxes are of the same face


class BlazeFace:
    """The detector, for images of any size.

    Args:
        model: content of `face_detector.tflite`.
    """

    def __init__(self, model: bytes) -> None:
        self._network = TfliteNetwork(model)
        self._anchors = _anchors()

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Boxes and key points of the faces, best first.

        Args:
            image: RGB uint8 (H, W, 3).

        Returns:
            (n, 8, 2) px: the box's center, its size, then right eye, left eye, nose, mouth, right
            ear and left ear of the subject; and (n,) scores in [0, 1].
        """
        height, width = image.shape[:2]
        side = max(height, width)
        # The image fills the middle of a black square.
        low = round((1 - height / side) * PIXELS / 2), round((1 - width / side) * PIXELS / 2)
        size = PIXELS - 2 * low[1] or 1, PIXELS - 2 * low[0] or 1
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        square = np.full((PIXELS, PIXELS, 3), -1, np.float32)
        square[low[0] : low[0] + size[1], low[1] : low[1] + size[0]] = small / 127.5 - 1
        places, scores = self._network(square[None])
        with np.errstate(over="ignore"):
            scores = 1 / (1 + np.exp(-scores[0, :, 0]))
        found = np.flatnonzero(scores >= LEAST_SCORE)
        places = places[0, found].reshape(-1, 8, 2)
        places[:, np.arange(8) != 1] += self._anchors[found, None] * PIXELS
        places, scores = _merged(places, scores[found])
        scale = np.array([width / size[0], height / size[1]], np.float32)
        places[:, np.arange(8) != 1] -= (low[1], low[0])
        return places * scale, scores


def _anchors() -> np.ndarray:
    """(896, 2) centers of the anchors as shares of the input."""
    parts = []
    for cells, count in MAPS:
        line = (np.arange(cells) + 0.5) / cells
        centers = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
        parts.append(np.repeat(centers, count, axis=0))
    return np.concatenate(parts).astype(np.float32)


def _merged(places: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Non-maximum suppression that takes the mean of each face's boxes, weighted by score."""
    order = np.argsort(-scores, kind="stable")
    places, scores = places[order], scores[order]
    merged, best = [], []
    while len(scores):
        low, high = places[:, 0] - places[:, 1] / 2, places[:, 0] + places[:, 1] / 2
        shared = np.minimum(high, high[0]) - np.maximum(low, low[0])
        inside = shared.clip(0).prod(1)
        area = places[:, 1].clip(0).prod(1)
        same = inside > OVERLAP * (area + area[0] - inside)
        same[0] = True
        weights = scores[same, None, None]
        merged.append((places[same] * weights).sum(0) / weights.sum())
        best.append(scores[0])
        places, scores = places[~same], scores[~same]
    return np.array(merged, np.float32).reshape(-1, 8, 2), np.array(best, np.float32)
