"""The procedural head's paint, per vertex and as a texture.

A renderer that has `HeadModel.uv` wants `paint_texture(size, person)`: an sRGB image in the
model's atlas (row 0 is v = 1), the same for the same arguments. `Person` holds the choices.
"""

from dataclasses import dataclass

import numpy as np
import torch

from headsplat.gaussians.raster.triangles import interpolate, rasterize_triangles
from headsplat.synthetic.head.assemble import Head, assemble
from headsplat.synthetic.head.paint import Person, paint

Array = np.ndarray


@dataclass(frozen=True)
class _Texels:
    """Texels that a triangle covers: flat ids (n,), part (n,), attributes (n, 9)."""

    ids: Array
    part: Array
    attributes: Array


def paint_texture(size: int, person: Person | None = None) -> Array:
    """Paint the whole atlas.

    Args:
        size: texels per side; 1024 shows single brow hairs, 512 is enough for a 512 px image.
        person: skin tone, hair, irises, brows; the default one when None.

    Returns:
        (size, size, 3) float32 sRGB in 0..1. Texels between islands continue the nearest edge,
        so that bilinear look-ups do not fetch background.
    """
    head = assemble()
    texels = _cover(head, size)
    image = np.zeros((size * size, 3), dtype=np.float32)
    image[texels.ids] = paint(texels.attributes, texels.part, person or Person())
    covered = np.zeros(size * size, dtype=bool)
    covered[texels.ids] = True
    return _grow(image.reshape(size, size, 3), covered.reshape(size, size), max(2, size // 128))


def vertex_colors(head: Head, person: Person | None = None) -> Array:
    """The paint at the vertices, (V, 3) float32 sRGB."""
    return paint(head.attributes, head.anatomy.part, person or Person())


def _cover(head: Head, size: int) -> _Texels:
    uv = torch.as_tensor(head.uv, dtype=torch.float32)
    flat = torch.stack([uv[:, 0] * size, (1 - uv[:, 1]) * size, torch.ones(len(uv))], 1)
    uv_faces = torch.as_tensor(head.uv_faces)
    face, bary = rasterize_triangles(flat[None], uv_faces, size, size)
    values = torch.as_tensor(head.attributes, dtype=torch.float32)
    shown = interpolate(face, bary, torch.as_tensor(head.faces), values)
    ids = np.flatnonzero(face.numpy().ravel() >= 0)
    part = head.face_part[face.numpy().ravel()[ids]]
    return _Texels(ids, part, shown.numpy().reshape(-1, values.shape[1])[ids])


def _grow(image: Array, covered: Array, steps: int) -> Array:
    """Spread the colors of covered texels outwards, one texel a step."""
    for _ in range(steps):
        known, color = np.pad(covered, 1), np.pad(image, ((1, 1), (1, 1), (0, 0)))
        total, count = np.zeros_like(image), np.zeros(covered.shape, dtype=np.float32)
        for rows, columns in (
            (slice(2, None), slice(1, -1)),
            (slice(0, -2), slice(1, -1)),
            (slice(1, -1), slice(2, None)),
            (slice(1, -1), slice(0, -2)),
        ):
            total += color[rows, columns] * known[rows, columns, None]
            count += known[rows, columns]
        fresh = ~covered & (count > 0)
        image[fresh] = total[fresh] / count[fresh][:, None]
        covered = covered | fresh
    return image
