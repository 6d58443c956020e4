"""One camera for all stages: OpenCV axes (x right, y down, z forward), continuous pixels.

A picture spans [0, W] x [0, H] and the centre of its first pixel is (0.5, 0.5). The principal
point is carried everywhere: a crop moves it, and nothing re-centres it.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


def project(vertices: Tensor, rotation: Tensor, translation: Tensor, intrinsics: Tensor) -> Tensor:
    """World points to pixels and depth.

    Args:
        vertices: (B, V, 3) metres.
        rotation: (B, 3, 3) world to camera.
        translation: (B, 3) metres.
        intrinsics: (B, 4) or (4,): fx, fy, cx, cy in pixels.

    Returns:
        (B, V, 3): x and y in pixels, z the camera depth in metres.
    """
    camera = vertices @ rotation.transpose(-1, -2) + translation[..., None, :]
    depth = camera[..., 2:]
    focal, centre = intrinsics[..., None, :2], intrinsics[..., None, 2:]
    return torch.cat([camera[..., :2] / depth * focal + centre, depth], -1)


def vector_from_matrix(matrix: Tensor) -> Tensor:
    """(..., 3, 3) K -> (..., 4): fx, fy, cx, cy."""
    parts = [matrix[..., 0, 0], matrix[..., 1, 1], matrix[..., 0, 2], matrix[..., 1, 2]]
    return torch.stack(parts, -1)


@dataclass(frozen=True)
class Crop:
    """The one square window of a clip: crop = (source - (x0, y0)) * size / side, in pixels."""

    x0: float
    y0: float
    side: float
    size: int
    source_width: int
    source_height: int

    @property
    def scale(self) -> float:
        """Crop pixels per source pixel."""
        return self.size / self.side

    def points(self, source: np.ndarray) -> np.ndarray:
        """(..., 2+) source pixels -> crop pixels; further columns (MediaPipe's z) are scaled."""
        out = np.array(source, dtype=np.float64)
        out[..., :2] -= (self.x0, self.y0)
        return out * self.scale

    def intrinsics(self, source: np.ndarray) -> np.ndarray:
        """(3, 3) K of the source picture -> (3, 3) K of the crop, exactly."""
        shift = np.array([[1, 0, -self.x0], [0, 1, -self.y0], [0, 0, 1]], dtype=np.float64)
        return np.diag([self.scale, self.scale, 1.0]) @ shift @ source

    def centre(self) -> tuple[float, float]:
        """Where the source camera's principal point, (W/2, H/2), lies in the crop."""
        return (
            (self.source_width / 2 - self.x0) * self.scale,
            (self.source_height / 2 - self.y0) * self.scale,
        )
