"""Anchors on posed meshes: positions and the rotation of the triangle each is tied to."""

import torch
from torch import Tensor

from headsplat.gaussians.anchors import Anchors
from headsplat.heads.model import HeadModel
from headsplat.rotations import quaternion_from_matrix


class AnchoredSurface:
    """Evaluates anchors on batches of posed vertices.

    Only the vertices that anchors use are wanted, so that the geometry of thousands of frames
    can be kept: pass `vertex_ids` to `headsplat.deform.codes.pose_head`.

    Attributes:
        vertex_ids: (n,) long, the model's vertices in the order that `place` expects.
    """

    def __init__(self, anchors: Anchors, model: HeadModel, device: torch.device | str) -> None:
        corners = torch.as_tensor(model.faces[anchors.face], dtype=torch.long, device=device)
        self.vertex_ids, local = torch.unique(corners, return_inverse=True)
        self._corners = local.T.contiguous()
        self._weights = torch.as_tensor(anchors.barycentric, device=device).T.contiguous()
        self._height = torch.as_tensor(anchors.height, device=device)

    def place(self, vertices: Tensor) -> tuple[Tensor, Tensor]:
        """Put the anchors on posed meshes.

        Args:
            vertices: (B, n, 3) metres, the rows named by `vertex_ids`.

        Returns:
            positions (B, N, 3) metres and rotations (B, N, 4), unit quaternions that take the
            triangle's frame (first edge, in-plane, normal) to the head's.
        """
        a, b, c = (vertices.index_select(1, corner) for corner in self._corners)
        first = b - a
        normal = torch.linalg.cross(first, c - a)
        length = normal.norm(dim=-1, keepdim=True)
        normal = normal / length.clamp_min(1e-12)
        tangent = torch.nn.functional.normalize(first, dim=-1)
        matrix = torch.stack([tangent, torch.linalg.cross(normal, tangent), normal], -1)
        # A collapsed triangle (a shut lid) has no frame of its own.
        eye = torch.eye(3, device=vertices.device, dtype=vertices.dtype)
        matrix = torch.where((length > 1e-11)[..., None], matrix, eye)
        wa, wb, wc = (weight[:, None] for weight in self._weights)
        positions = a * wa + b * wb + c * wc + normal * self._height[:, None]
        return positions, quaternion_from_matrix(matrix)


def rotate(quaternion: Tensor, vector: Tensor) -> Tensor:
    """Turn (..., 3) vectors by (..., 4) unit quaternions without building matrices."""
    axis = quaternion[..., 1:]
    twice = 2 * torch.linalg.cross(axis, vector)
    return vector + quaternion[..., :1] * twice + torch.linalg.cross(axis, twice)
