"""Anchors on posed meshes: positions and the rotation of the triangle each is tied to."""

import torch
from torch import Tensor

from headsplat.gaussians.anchors import Anchors
from headsplat.gaussians.raster.operators import Operator
from headsplat.heads.model import HeadModel
from headsplat.runtime.checks import check_shape

_place_anchors = Operator("place_anchors", lambda vertices, corners, weights, heights: (
    vertices.new_empty((len(vertices), len(heights), 3)),
    vertices.new_empty((len(vertices), len(heights), 4)),
))  # fmt: skip


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
        self._corners = local.int()
        weights = torch.as_tensor(anchors.barycentric, device=device)
        self._weights = weights[:, 1:].contiguous()
        self._heights = torch.as_tensor(anchors.height, device=device)

    def place(self, vertices: Tensor) -> tuple[Tensor, Tensor]:
        """Put the anchors on posed meshes.

        Args:
            vertices: (B, n, 3) metres, the rows named by `vertex_ids`, float32. No gradient.

        Returns:
            positions (B, N, 3) metres and rotations (B, N, 4), unit quaternions that take the
            triangle's frame (first edge, in-plane, normal) to the head's; the identity where a
            triangle has collapsed (a shut lid).

        Raises:
            ValueError: the shape, type or device is wrong.
            UserError: the operators cannot be built, or not for this device.
        """
        check_shape(vertices, f"B {len(self.vertex_ids)} 3", "vertices")
        return _place_anchors(vertices.contiguous(), self._corners, self._weights, self._heights)
