"""The head's texture, from its painted vertex colours."""

import torch
from torch import Tensor

from headsplat.heads.model import HeadModel
from headsplat.raster.triangles import interpolate, rasterize_triangles

GUTTER = 4


def bake_albedo(model: HeadModel, size: int) -> Tensor:
    """(size, size, 3) float sRGB in 0..1: vertex colours spread over the UV atlas.

    Colours run a few texels beyond each chart, so that bilinear look-ups at its edge stay clean.
    """
    uv = torch.as_tensor(model.uv)
    points = torch.stack([uv[:, 0] * size, (1 - uv[:, 1]) * size, torch.ones(len(uv))], 1)
    faces = torch.as_tensor(model.uv_faces)
    face, bary = rasterize_triangles(points[None], faces, size, size)
    albedo = torch.as_tensor(model.albedo)
    colour = interpolate(face, bary, torch.as_tensor(model.faces), albedo)[0]
    covered = (face[0] >= 0).float()[..., None]
    for _ in range(GUTTER):
        spread = _box(torch.cat([colour * covered, covered], -1))
        grown = spread[..., :3] / spread[..., 3:].clamp_min(1e-6)
        colour = torch.where(covered > 0, colour, grown)
        covered = (spread[..., 3:] > 1e-6).float()
    return colour


def _box(image: Tensor) -> Tensor:
    """Mean over 3x3 texels."""
    planes = image.permute(2, 0, 1)[None]
    return torch.nn.functional.avg_pool2d(planes, 3, 1, 1)[0].permute(1, 2, 0)
