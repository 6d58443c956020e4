"""The square of an import's images that the rest of the workflow sees."""

import numpy as np
import torch

from headsplat.camera import project, vector_from_matrix
from headsplat.frames.crop import Crop
from headsplat.heads.model import HeadModel
from headsplat.heads.skinning import HeadGeometry
from headsplat.rotations import matrix_from_6d
from headsplat.track import Track

SAMPLES = 48  # frames whose head must lie inside
TAIL = 5.0  # percent of them on each side that may stick out
# Room around the mesh, in heights of it: it has no hair.
ROOM = {"left": 0.15, "right": 0.15, "top": 0.2, "bottom": 0.05}


def square_window(head: HeadModel, track: Track, size: int) -> Crop:
    """The whole image where it is square, else a square around the tracked head.

    The square is cut to the image where it fits, and leaves it (black) where the head fills
    the longer side.

    Args:
        head: of the track.
        track: `K` and `img_size` of the uncropped images.
        size: side of the cropped images in pixels.
    """
    height, width = (int(n) for n in track.img_size)
    if height == width:
        return Crop(0, 0, width, size, width, height)
    pixels = _project(head, track)
    low = np.percentile(pixels.min(1), TAIL, axis=0)
    high = np.percentile(pixels.max(1), 100 - TAIL, axis=0)
    tall = high[1] - low[1]
    image = np.array([width, height], float)
    low = np.clip(low - tall * np.array([ROOM["left"], ROOM["top"]]), 0, image)
    high = np.clip(high + tall * np.array([ROOM["right"], ROOM["bottom"]]), 0, image)
    side = max(2, round(float((high - low).max())))
    slack = image - side
    corner = np.clip(np.rint((low + high - side) / 2), np.minimum(slack, 0), np.maximum(slack, 0))
    return Crop(int(corner[0]), int(corner[1]), side, size, width, height)


def _project(head: HeadModel, track: Track) -> np.ndarray:
    """(n, V, 2) pixels of the mesh in frames spread over the clip."""
    count = len(track.ids)
    rows = np.unique(np.linspace(0, count - 1, min(SAMPLES, count)).astype(int))

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(array, dtype=torch.float32)

    vertices = HeadGeometry(head).vertices(
        tensor(track.shape),
        tensor(track.exp[rows]),
        matrix_from_6d(tensor(track.jaw[rows])),
        matrix_from_6d(tensor(track.eyes[rows]).reshape(-1, 2, 6)),
        tensor(track.eyelids[rows]),
    )
    camera = vector_from_matrix(tensor(track.K))
    return project(vertices, tensor(track.R[rows]), tensor(track.t[rows]), camera)[..., :2].numpy()
