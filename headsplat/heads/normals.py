"""Vertex normals of triangle meshes."""

import torch
from torch import Tensor
from torch.nn.functional import normalize


def area_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Area-weighted vertex normals, not normalized: sums of triangle normals of twice the area.

    Args:
        vertices: (..., V, 3).
        faces: (F, 3) long.

    Returns:
        (..., V, 3).
    """
    a, b, c = (vertices[..., faces[:, k], :] for k in range(3))
    facets = torch.linalg.cross(b - a, c - a)
    total = torch.zeros_like(vertices)
    for k in range(3):
        total.index_add_(-2, faces[:, k], facets)
    return total


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Unit normals, triangles weighted by area: (..., V, 3), (F, 3) long -> (..., V, 3)."""
    return normalize(area_normals(vertices, faces), dim=-1)
