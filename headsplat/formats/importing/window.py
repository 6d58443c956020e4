"""Square crop window of an import's images."""

import numpy as np
import torch

from headsplat.camera import project, vector_from_matrix
from headsplat.frames.crop import Crop, widened
from headsplat.heads.model import HeadModel
from headsplat.heads.skinning import HeadGeometry
from headsplat.rotations import matrix_from_6d
from headsplat.track import Track

SAMPLES = 48  # number of frames whose head must lie inside
TAIL = 5.0  # percentile margin: share of frames that may exceed a side
# Margins around the mesh, in mesh heights, because the mesh has no hair.
ROOM = {"left": 0.15, "right": 0.15, "top": 0.2, "bottom": 0.05}


def square_window(head: HeadModel, track: Track, size: int) -> Crop:
    """The whole image where it is square, else a square around the tracked head.

    The square stays within the image if possible. If the head fills the longer side, it extends
    beyond (black).

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
    box = widened(low, high, high[1] - low[1], ROOM, (width, height))
    return Crop.around(*box, (width, height), size)


def _project(head: HeadModel, track: Track) -> np.ndarray:
    """(n, V, 2) pixels of mesh vertices in frames spread over the clip."""
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
