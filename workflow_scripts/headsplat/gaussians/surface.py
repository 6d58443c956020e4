"""Anchors on posed meshes: positions and the rotation of the triangle each is tied to.

Each step of training and each frame drawn goes through here, so operations are few and large.
"""

import torch
from torch import Tensor

from headsplat.gaussians.anchors import Anchors
from headsplat.heads.model import HeadModel

# q q^T of the unit quaternion (w, x, y, z) of a rotation matrix is linear in the matrix. Per entry
# of its upper triangle, times four: the constant, then what the columns' nine numbers
# (xx, yx, zx; xy, yy, zy; xz, yz, zz) count for.
_OUTER = {
    (0, 0): (1, (1, 0, 0, 0, 1, 0, 0, 0, 1)),
    (0, 1): (0, (0, 0, 0, 0, 0, 1, 0, -1, 0)),
    (0, 2): (0, (0, 0, -1, 0, 0, 0, 1, 0, 0)),
    (0, 3): (0, (0, 1, 0, -1, 0, 0, 0, 0, 0)),
    (1, 1): (1, (1, 0, 0, 0, -1, 0, 0, 0, -1)),
    (1, 2): (0, (0, 1, 0, 1, 0, 0, 0, 0, 0)),
    (1, 3): (0, (0, 0, 1, 0, 0, 0, 1, 0, 0)),
    (2, 2): (1, (-1, 0, 0, 0, 1, 0, 0, 0, -1)),
    (2, 3): (0, (0, 0, 0, 0, 0, 1, 0, 1, 0)),
    (3, 3): (1, (-1, 0, 0, 0, -1, 0, 0, 0, 1)),
}


class AnchoredSurface:
    """Evaluates anchors on batches of posed vertices.

    Only the vertices that anchors use are wanted, so that the geometry of thousands of frames
    can be kept: pass `vertex_ids` to what poses the head.

    Attributes:
        vertex_ids: (n,) long, the model's vertices in the order that `place` expects.
    """

    def __init__(self, anchors: Anchors, model: HeadModel, device: torch.device | str) -> None:
        corners = torch.as_tensor(model.faces[anchors.face], dtype=torch.long, device=device)
        self.vertex_ids, local = torch.unique(corners, return_inverse=True)
        self._corners = local.T.flatten()
        weights = torch.as_tensor(anchors.barycentric, device=device)[:, 1:]
        self._weights = weights.T.contiguous()[..., None]
        self._height = torch.as_tensor(anchors.height, device=device)[:, None]
        constant, linear = torch.zeros(4, 4), torch.zeros(4, 4, 9)
        for (row, column), (one, entries) in _OUTER.items():
            for k in ((row, column), (column, row)):
                constant[k], linear[k] = one / 4, torch.tensor(entries) / 4
        self._constant = constant.flatten().to(device)
        self._linear = linear.flatten(0, 1).T.contiguous().to(device)
        self._upright = torch.tensor([1.0, 0, 0, 0], device=device)

    def place(self, vertices: Tensor) -> tuple[Tensor, Tensor]:
        """Put the anchors on posed meshes.

        Args:
            vertices: (B, n, 3) metres, the rows named by `vertex_ids`, float32.

        Returns:
            positions (B, N, 3) metres and rotations (B, N, 4), unit quaternions that take the
            triangle's frame (first edge, in-plane, normal) to the head's.
        """
        corners = vertices.index_select(1, self._corners).unflatten(1, (3, -1))
        first, second = (corners[:, 1:] - corners[:, :1]).unbind(1)
        axes = torch.stack([first, torch.linalg.cross(first, second)], 1)
        length = axes.norm(dim=-1, keepdim=True)
        tangent, normal = (axes / length.clamp_min(1e-12)).unbind(1)
        frame = torch.cat([tangent, torch.linalg.cross(normal, tangent), normal], -1)
        # A collapsed triangle (a shut lid) has no frame of its own.
        solid = length[:, 1] > 1e-11
        rotations = torch.where(solid, self._quaternion(frame), self._upright)
        positions = torch.addcmul(corners[:, 0], first, self._weights[0])
        positions = torch.addcmul(positions, second, self._weights[1])
        return torch.addcmul(positions, normal, self._height), rotations

    def _quaternion(self, frame: Tensor) -> Tensor:
        """(B, N, 9), the columns of rotation matrices -> (B, N, 4)."""
        outer = torch.addmm(self._constant, frame.flatten(0, 1), self._linear).unflatten(1, (4, 4))
        # Each row is q times one of its entries; the largest entry divides best.
        square, largest = outer.diagonal(dim1=1, dim2=2).max(1, keepdim=True)
        row = outer.gather(1, largest[..., None].expand(-1, 1, 4))[:, 0]
        return (row * square.rsqrt()).view(*frame.shape[:2], 4)


def rotate(quaternion: Tensor, vector: Tensor) -> Tensor:
    """Turn (..., 3) vectors by (..., 4) unit quaternions without building matrices."""
    axis = quaternion[..., 1:]
    moved = torch.linalg.cross(axis, vector)
    moved = torch.addcmul(torch.linalg.cross(axis, moved), quaternion[..., :1], moved)
    return torch.add(vector, moved, alpha=2)
