"""Shading: soft directional lights, a sheen, and sky visibility per vertex."""

import torch
from torch import Tensor

from headsplat.gaussians.raster.triangles import interpolate, rasterize_triangles
from headsplat.heads.normals import vertex_normals

# Directions towards the lights in camera axes (x right, y down, z forward), and linear colors.
LIGHTS = (
    ((-0.55, -0.60, -0.60), (0.86, 0.80, 0.72)),
    ((0.75, -0.10, -0.55), (0.20, 0.23, 0.28)),
    ((0.10, -0.90, 0.40), (0.16, 0.16, 0.17)),
)
AMBIENT = (0.34, 0.35, 0.37)
SHEEN_EXPONENT = 18.0


def light_vertices(places: Tensor, normals: Tensor, openness: Tensor, gloss: Tensor) -> Tensor:
    """Light vertices seen by a fixed camera in a fixed room.

    The clamped cosine of a light is expanded in spherical harmonics up to degree two (Ramamoorthi
    and Hanrahan 2001), like a large soft box.

    Args:
        places: (B, V, 3) in camera axes, meters.
        normals: (B, V, 3) in camera axes.
        openness: (V,) sky visibility, 0..1.
        gloss: (V,) strength of the sheen.

    Returns:
        (B, V, 4): diffuse linear RGB irradiance, and specular white light.
    """
    view = torch.nn.functional.normalize(-places, dim=-1)
    diffuse = torch.tensor(AMBIENT) * openness[:, None].expand(*normals.shape[:2], 1)
    sheen = torch.zeros(*normals.shape[:2], 1)
    # Low sky visibility also attenuates direct light, but less than ambient light.
    direct = (0.25 + 0.75 * openness)[:, None]
    for direction, color in LIGHTS:
        towards = torch.nn.functional.normalize(torch.tensor(direction), dim=0)
        cosine = (normals @ towards)[..., None]
        soft = (0.25 + 0.5 * cosine + 5 / 32 * (3 * cosine**2 - 1)).clamp_min(0)
        diffuse = diffuse + soft * direct * torch.tensor(color)
        half = torch.nn.functional.normalize(view + towards, dim=-1)
        glance = (normals * half).sum(-1, keepdim=True).clamp_min(0) ** SHEEN_EXPONENT
        sheen = sheen + glance * (gloss * openness)[:, None] * color[1]
    return torch.cat([diffuse, sheen], -1)


def sky_openness(vertices: Tensor, faces: Tensor, directions: int = 96, size: int = 192) -> Tensor:
    """Cosine-weighted sky visibility of each vertex (ambient occlusion).

    Depth images are rendered from `directions` distant points spread evenly over the sphere. A
    vertex sees the sky in that direction if it is not occluded.

    Args:
        vertices: (V, 3) meters.
        faces: (F, 3).
        directions: number of directions, a multiple of eight.
        size: side of the depth images in pixels.

    Returns:
        (V,) in 0..1.
    """
    normals = vertex_normals(vertices[None], faces)[0]
    index = torch.arange(directions, dtype=torch.float32) + 0.5
    height = 1 - 2 * index / directions
    around = index * (torch.pi * (3 - 5**0.5))
    flat = (1 - height**2).sqrt()
    towards = torch.stack([flat * around.cos(), height, flat * around.sin()], 1)
    up = torch.tensor([0.13, 0.21, 0.97]).expand_as(towards)
    right = torch.nn.functional.normalize(torch.linalg.cross(up, towards), dim=1)
    frame = torch.stack([right, torch.linalg.cross(towards, right), -towards], 1)

    middle = (vertices.amax(0) + vertices.amin(0)) / 2
    centered = vertices - middle
    radius = centered.norm(dim=1).max()
    seen = torch.zeros(len(vertices))
    weight = torch.zeros(len(vertices))
    for axes, direction in zip(frame.split(8), towards.split(8), strict=True):
        turned = centered @ axes.transpose(1, 2)
        pixels = (turned[..., :2] / radius + 1) * (size / 2)
        # Distant cameras, for which perspective is negligible.
        depth = turned[..., 2:] + 50 * radius
        points = torch.cat([pixels, depth], -1)
        face, bary = rasterize_triangles(points, faces, size, size)
        front = interpolate(face, bary, faces, depth)[..., 0]
        front = torch.where(face >= 0, front, torch.full_like(front, float("inf")))
        # The farthest of nine neighboring pixels, so that sloped surfaces do not occlude
        # themselves.
        lenient = torch.nn.functional.max_pool2d(front.clamp_max(1e6)[:, None], 3, 1, 1)[:, 0]
        column, row = (pixels.long().clamp(0, size - 1)).unbind(-1)
        nearest = lenient[torch.arange(len(axes))[:, None], row, column]
        visible = (depth[..., 0] <= nearest + 0.004).float()
        cosine = (direction @ normals.T).clamp_min(0)
        seen += (visible * cosine).sum(0)
        weight += cosine.sum(0)
    return seen / weight.clamp_min(1e-6)
