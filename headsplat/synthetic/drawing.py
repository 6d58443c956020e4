"""Antialiased images of a lit, textured mesh.

Pixels are shaded once at their center. Pixels with a depth or part discontinuity (silhouettes, lips
before teeth, eyes in lids) are supersampled and averaged.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from headsplat.gaussians.raster.triangles import rasterize_triangles

SAMPLES = 2
# Depth difference within a pixel that counts as a discontinuity, meters.
DEPTH_STEP = 0.008
# Direction of the key light's corneal reflection, in camera axes.
CATCH_LIGHT = (-0.5, -0.75, -0.9)
CATCH_EXPONENT = 220.0


@dataclass(frozen=True)
class Surface:
    """Constant data of a textured mesh.

    Attributes:
        faces: (F, 3) long.
        corner_uv: (F, 3, 2) in [0, 1], v up.
        part: (F,) float, equal numbers for faces of one smooth sheet.
        is_eye: (F,) bool.
        texels: (height, width, 3) linear colors.
    """

    faces: Tensor
    corner_uv: Tensor
    part: Tensor
    is_eye: Tensor
    texels: Tensor


class Painter:
    """Renders a `Surface` over a static background.

    Args:
        surface: the mesh's constant part.
        background: (size, size, 3) linear colors.
    """

    def __init__(self, surface: Surface, background: Tensor) -> None:
        self._surface = surface
        self._background = background
        self._size = background.shape[0]
        self._height, self._width = surface.texels.shape[:2]
        texels = torch.nn.functional.pad(
            surface.texels.permute(2, 0, 1)[None], (0, 1, 0, 1), mode="replicate"
        )[0].permute(1, 2, 0)
        # A texel and its right and lower neighbors in one row: one look-up instead of four.
        self._quads = torch.cat(
            [texels[:-1, :-1], texels[:-1, 1:], texels[1:, :-1], texels[1:, 1:]], -1
        ).reshape(-1, 12)

    def draw(self, pixels: Tensor, places: Tensor, light: Tensor, normals: Tensor) -> Tensor:
        """Images in linear colors.

        Args:
            pixels: (B, V, 3) x, y in pixels, and depth.
            places: (B, V, 3) meters in camera axes.
            light: (B, V, 4) diffuse light in linear RGB, then specular light.
            normals: (B, V, 3) in camera axes.

        Returns:
            (B, size, size, 3).
        """
        faces, size = self._surface.faces, self._size
        face, bary = rasterize_triangles(pixels, faces, size, size)
        finer = pixels * torch.tensor([SAMPLES, SAMPLES, 1.0])
        fine_face, fine_bary = rasterize_triangles(finer, faces, size * SAMPLES, size * SAMPLES)
        return torch.stack(
            [
                self._frame(*samples)
                for samples in zip(
                    face, bary, fine_face, fine_bary, places, light, normals, strict=True
                )
            ]
        )

    def _frame(
        self,
        face: Tensor,
        bary: Tensor,
        fine_face: Tensor,
        fine_bary: Tensor,
        places: Tensor,
        light: Tensor,
        normals: Tensor,
    ) -> Tensor:
        size = self._size
        cells = (size, SAMPLES, size, SAMPLES)
        # One row per pixel with its fine samples in the columns.
        fine_face = fine_face.reshape(cells).transpose(1, 2).reshape(size * size, -1)
        sheet = self._sheets(places)[fine_face.long() + 1]
        broken = (sheet.amax(1) - sheet.amin(1)) > DEPTH_STEP

        canvas = self._background.reshape(-1, 3).clone()
        face = face.reshape(-1)
        whole = torch.nonzero((face >= 0) & ~broken)[:, 0]
        canvas[whole] = self._colors(
            face[whole].long(), bary.reshape(-1, 3)[whole], places, light, normals
        )

        mixed = torch.nonzero(broken)[:, 0]
        parts = fine_face[mixed]
        at = self._fine_index(mixed)
        samples = canvas[mixed][:, None].repeat(1, SAMPLES**2, 1)
        hit = parts >= 0
        samples[hit] = self._colors(
            parts[hit].long(), fine_bary.reshape(-1, 3)[at[hit]], places, light, normals
        )
        canvas[mixed] = samples.mean(1)
        return canvas.reshape(size, size, 3)

    def _sheets(self, places: Tensor) -> Tensor:
        """(F + 1,) depth plus a part offset of the background and each face."""
        depth = places[:, 2][self._surface.faces].mean(1) + 10 * self._surface.part
        return torch.cat([torch.full((1,), -10.0), depth])

    def _fine_index(self, pixel: Tensor) -> Tensor:
        """(n,) pixels -> (n, SAMPLES**2) rows of the flattened fine image."""
        row, column = pixel // self._size, pixel % self._size
        step = torch.arange(SAMPLES)
        rows = (row[:, None] * SAMPLES + step)[:, :, None]
        columns = (column[:, None] * SAMPLES + step)[:, None, :]
        return (rows * (self._size * SAMPLES) + columns).flatten(1)

    def _colors(
        self, face: Tensor, weight: Tensor, places: Tensor, light: Tensor, normals: Tensor
    ) -> Tensor:
        """(n, 3) linear colors of n surface points."""
        corners = self._surface.faces[face]
        shade = _blend(light, corners, weight)
        uv = (self._surface.corner_uv[face] * weight[..., None]).sum(1)
        color = self._texture(uv) * shade[:, :3] + shade[:, 3:]
        eye = torch.nonzero(self._surface.is_eye[face])[:, 0]
        corners, weight = corners[eye], weight[eye]
        glint = _catch_light(_blend(normals, corners, weight), _blend(places, corners, weight))
        color[eye] += glint[:, None]
        return color.clamp_(0, 1)

    def _texture(self, uv: Tensor) -> Tensor:
        """Bilinear look-up, (n, 2) -> (n, 3)."""
        x = (uv[:, 0] * self._width - 0.5).clamp(0, self._width - 1)
        y = ((1 - uv[:, 1]) * self._height - 0.5).clamp(0, self._height - 1)
        left, top = x.floor(), y.floor()
        fx, fy = (x - left)[:, None], (y - top)[:, None]
        quad = self._quads.index_select(0, (top * self._width + left).long())
        upper = torch.lerp(quad[:, :3], quad[:, 3:6], fx)
        return torch.lerp(upper, torch.lerp(quad[:, 6:9], quad[:, 9:], fx), fy)


def _blend(values: Tensor, corners: Tensor, weight: Tensor) -> Tensor:
    """Barycentric mean of (V, C) rows, one corner at a time to keep temporaries small."""
    total = values.index_select(0, corners[:, 0]) * weight[:, :1]
    total += values.index_select(0, corners[:, 1]) * weight[:, 1:2]
    return total.add_(values.index_select(0, corners[:, 2]) * weight[:, 2:])


def _catch_light(normal: Tensor, place: Tensor) -> Tensor:
    """(n,) corneal highlight."""
    normal = torch.nn.functional.normalize(normal, dim=1)
    view = torch.nn.functional.normalize(-place, dim=1)
    light = torch.nn.functional.normalize(torch.tensor(CATCH_LIGHT), dim=0)
    half = torch.nn.functional.normalize(view + light, dim=1)
    return 0.9 * (normal * half).sum(1).clamp_min(0) ** CATCH_EXPONENT
