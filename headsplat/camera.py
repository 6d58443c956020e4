"""Pinhole camera: OpenCV axes (x right, y down, z forward), continuous pixel coordinates.

An image spans [0, W] x [0, H], and the center of its first pixel is (0.5, 0.5). A crop shifts the
principal point; no code assumes that it is the image center.
"""

import torch
from torch import Tensor


def project(vertices: Tensor, rotation: Tensor, translation: Tensor, intrinsics: Tensor) -> Tensor:
    """Project world points to pixels and depth.

    Args:
        vertices: (B, V, 3) meters.
        rotation: (B, 3, 3) world to camera.
        translation: (B, 3) meters.
        intrinsics: (B, 4) or (4,): fx, fy, cx, cy in pixels.

    Returns:
        (B, V, 3): x and y in pixels, z the camera depth in meters.
    """
    camera = vertices @ rotation.transpose(-1, -2) + translation[..., None, :]
    depth = camera[..., 2:]
    focal, center = intrinsics[..., None, :2], intrinsics[..., None, 2:]
    return torch.cat([camera[..., :2] / depth * focal + center, depth], -1)


def vector_from_matrix(matrix: Tensor) -> Tensor:
    """Intrinsic matrix K (..., 3, 3) -> (..., 4): fx, fy, cx, cy in pixels."""
    parts = [matrix[..., 0, 0], matrix[..., 1, 1], matrix[..., 0, 2], matrix[..., 1, 2]]
    return torch.stack(parts, -1)
