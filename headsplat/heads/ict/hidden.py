"""Finding what of the mouth's and the eyes' inside can ever be seen."""

from itertools import product

import numpy as np
import torch

from headsplat.camera import project
from headsplat.gaussians.raster.triangles import rasterize_triangles
from headsplat.rotations import matrix_from_axis_angle

SIZE = 400
DISTANCE = 0.6
YAWS = (-50.0, 0.0, 50.0)
PITCHES = (-30.0, 0.0, 30.0)


def seen_triangles(
    poses: list[np.ndarray], faces: np.ndarray, center: np.ndarray, extent: float
) -> np.ndarray:
    """(F,) bool: triangles that are in front in some pixel of some view of some pose.

    Args:
        poses: (V, 3) vertices each, in metres.
        faces: (F, 3).
        center: (3,) where the cameras look.
        extent: metres around `center` that the image shows.
    """
    seen = np.zeros(len(faces) + 1, dtype=bool)
    focal = SIZE * DISTANCE / extent
    intrinsics = torch.tensor([focal, focal, SIZE / 2, SIZE / 2], dtype=torch.float32)
    corners = torch.from_numpy(faces)
    flip = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    for vertices, yaw, pitch in product(poses, YAWS, PITCHES):
        angles = torch.deg2rad(torch.tensor([[0.0, yaw, 0.0], [pitch, 0.0, 0.0]]))
        around, over = matrix_from_axis_angle(angles)
        rotation = flip @ over @ around
        offset = torch.from_numpy(center.astype(np.float32))
        translation = torch.tensor([0.0, 0.0, DISTANCE]) - rotation @ offset
        points = torch.from_numpy(vertices.astype(np.float32))[None]
        image = project(points, rotation[None], translation[None], intrinsics)
        face, _ = rasterize_triangles(image, corners, SIZE, SIZE)
        # The background, -1, lands in the spare last place.
        seen[face.numpy()] = True
    return seen[:-1]
