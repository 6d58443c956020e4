"""The depth of a bust in an image: where pixels of neck, clothes and shoulders lie in space."""

import numpy as np
import torch
from torch import Tensor

from headsplat.camera import project
from headsplat.gaussians.raster.triangles import rasterize_triangles
from headsplat.heads.bust import Bust
from headsplat.masks.nearest import nearest_index


def bust_depth(
    bust: Bust, turn: Tensor, shift: Tensor, intrinsics: Tensor, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """What each pixel shows of a bust; beyond the silhouette, what the nearest pixel inside does.

    Args:
        bust: in trunk space.
        turn: (3, 3) trunk to OpenCV camera.
        shift: (3,) likewise, meters.
        intrinsics: (4,) fx, fy, cx, cy in pixels.
        size: height and width of the image.

    Returns:
        depth (H, W) in meters and normals (H, W, 3) in trunk space. Where the image shows nothing
        of the bust, the depth is that of the trunk's origin, and normals face the camera.
    """
    height, width = size
    vertices, faces = torch.from_numpy(bust.vertices), torch.from_numpy(bust.faces).long()
    points = project(vertices[None], turn[None], shift[None], intrinsics)
    face, bary = rasterize_triangles(points, faces, width, height, cull_backfaces=True)
    there = (face[0] >= 0).numpy()
    if not there.any():
        towards = np.broadcast_to(-turn[2].numpy(), (*size, 3))
        return np.full(size, float(shift[2]), np.float32), towards
    corners = vertices[faces]
    normal = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal = torch.nn.functional.normalize(normal, dim=1)
    hit = face[0].clamp_min(0).long()
    depth = (bary[0] * points[0, :, 2][faces[hit]]).sum(-1).numpy()
    pixel = nearest_index(there)
    return depth.ravel()[pixel], normal[hit].numpy().reshape(-1, 3)[pixel]
