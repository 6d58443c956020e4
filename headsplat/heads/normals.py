"""Normals of triangle meshes."""

import torch
from torch import Tensor
from torch.nn.functional import normalize


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Unit normals, facets weighted by their area: (B, V, 3), (F, 3) long -> (B, V, 3)."""
    a, b, c = (vertices[:, faces[:, k]] for k in range(3))
    facets = torch.linalg.cross(b - a, c - a)
    total = torch.zeros_like(vertices)
    for k in range(3):
        total.index_add_(1, faces[:, k], facets)
    return normalize(total, dim=-1)
