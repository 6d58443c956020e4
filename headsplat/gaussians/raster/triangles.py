"""Triangle rasterization: the face and barycentric weights at each pixel.

Pixels are continuous: the center of the pixel in row r and column c is (c + 0.5, r + 0.5). A pixel
belongs to a triangle when its center lies inside or on an edge, so meshes are watertight.
"""

import torch
from torch import Tensor

from headsplat.gaussians.raster import extension
from headsplat.runtime.checks import check_shape

_ready = False


def _prepare() -> None:
    global _ready
    extension.load()

    @torch.library.register_fake("headsplat::rasterize_triangles")
    def _(points: Tensor, faces: Tensor, width: int, height: int, cull: bool):
        batch = points.shape[0]
        face = points.new_empty((batch, height, width), dtype=torch.int32)
        return face, points.new_empty((batch, height, width, 3))

    _ready = True


def rasterize_triangles(
    points: Tensor, faces: Tensor, width: int, height: int, cull_backfaces: bool = False
) -> tuple[Tensor, Tensor]:
    """Visible face and barycentrics of every pixel.

    Args:
        points: (B, V, 3) float32: x and y in pixels, z the camera depth (`camera.project`). A
            triangle with a vertex at z <= 0 or that is not finite is not drawn; none is clipped.
        faces: (F, 3) integer vertex indices, counter-clockwise seen from outside.
        width: columns.
        height: rows.
        cull_backfaces: leave out faces seen from behind.

    Returns:
        face: (B, height, width) int32; -1 for the background. Among equally near faces the lowest
            index wins.
        bary: (B, height, width, 3) float32, perspective-correct; 0 where nothing shows.

    No gradients flow. CPU and CUDA give the same bits.
    """
    check_shape(points, "B V 3", "points")
    check_shape(faces, "F 3", "faces")
    if not _ready:
        _prepare()
    extension.require(points.device)
    points = points.detach().float().contiguous()
    faces = faces.to(points.device, torch.int32).contiguous()
    return torch.ops.headsplat.rasterize_triangles(points, faces, width, height, cull_backfaces)


def interpolate(face: Tensor, bary: Tensor, faces: Tensor, attributes: Tensor) -> Tensor:
    """Attributes of the visible surface points; differentiable in `attributes`.

    Args:
        face: (B, H, W) from `rasterize_triangles`.
        bary: (B, H, W, 3).
        faces: (F, 3), indices into `attributes`; may differ from the rasterized ones (UV faces).
        attributes: (B, V, C) or (V, C).

    Returns:
        (B, H, W, C), 0 where nothing shows.
    """
    batch, height, width = face.shape
    check_shape(bary, f"{batch} {height} {width} 3", "bary")
    shared = attributes.dim() == 2
    check_shape(attributes, "V C" if shared else f"{batch} V C", "attributes")
    corners = faces.to(face.device).long()[face.clamp_min(0).long().flatten(1)]
    if not shared:
        offset = torch.arange(batch, device=face.device)[:, None] * attributes.shape[1]
        corners = corners + offset[..., None]
    table = attributes.reshape(-1, attributes.shape[-1])
    weights = bary.to(attributes.dtype).flatten(1, 2)
    # One corner at a time, so that peak memory is one attribute image instead of three.
    out = weights[..., :1] * table[corners[..., 0]]
    for i in (1, 2):
        out = out + weights[..., i : i + 1] * table[corners[..., i]]
    return out.reshape(batch, height, width, -1)
