"""How far hair stands off the head: a height above every vertex of scalp, ears and neck.

From a vertex, a ray along the normal leaves the head's matte where the hair ends, in frames that
see the normal from the side. Heights of vertices that no frame sees so come from their neighbors.
"""

import numpy as np
import torch
from torch import Tensor

from headsplat.camera import project
from headsplat.gaussians.deform.codes import camera_center, posed_vertices
from headsplat.heads.model import HeadModel
from headsplat.heads.normals import vertex_normals
from headsplat.heads.skinning import HeadGeometry
from headsplat.track import Track
from headsplat.train.dataset import ImageReader
from headsplat.train.prepare import spread_rows

# Regions where hair grows or hangs; of the neck only what does not face forward.
_REGIONS, _NECK, _FORWARD = ("scalp", "left_ear", "right_ear"), "neck", 0.3
# Smallest cosine between a normal and the direction away from the head's axis.
_OUTWARD = 0.5
_FRAMES, _BATCH = 24, 4
# Heights that are tried, meters.
_TALLEST, _STEP = 0.09, 0.002
# Largest sine of the angle between a normal and the image plane. The radius of a head in meters
# turns the length of a slanted ray into a height.
_SLANT, _RADIUS = 0.5, 0.09
# Share of the frames that may see less hair, and rounds of filling and smoothing.
_LOW, _FILLING, _SMOOTHING = 0.3, 400, 6
_INSIDE = 127


def hair_heights(head: HeadModel, track: Track, ids: list[int], reader: ImageReader) -> np.ndarray:
    """(V,) meters of hair above each vertex of the head, 0 where none can grow.

    Args:
        head: the head model.
        track: of the clip.
        ids: of the training frames.
        reader: their masks.
    """
    geometry = HeadGeometry(head)
    neutral = geometry.shaped(track.identity())
    where = _hairy(head, neutral, vertex_normals(neutral, geometry.faces))
    some = [ids[row] for row in spread_rows(len(ids), _FRAMES)]
    found = torch.cat([
        _exits(geometry, track, some[first : first + _BATCH], reader, where)
        for first in range(0, len(some), _BATCH)
    ])  # fmt: skip
    heights = np.zeros(len(head.template), np.float32)
    if len(where):
        # Frames that do not see a vertex from the side are NaN.
        heights[where] = _spread(torch.nanquantile(found, _LOW, dim=0), geometry.faces, where)
    return heights


def _hairy(head: HeadModel, neutral: Tensor, normals: Tensor) -> np.ndarray:
    """Vertices above which hair may be: those that face away from the head's axis."""
    may = np.zeros(len(head.template), bool)
    for name in _REGIONS:
        may[head.regions.get(name, [])] = True
    neck = np.zeros_like(may)
    neck[head.regions.get(_NECK, [])] = True
    may |= neck & (normals[:, 2] < _FORWARD).numpy()
    if not may.any():
        return np.flatnonzero(may)
    middle = neutral[may].mean(0)
    away = neutral - middle
    # The axis is upright below the middle, and ends there.
    away[:, 1].clamp_(min=0)
    away[:, 0] = neutral[:, 0]
    outward = torch.nn.functional.normalize(away, dim=1)
    return np.flatnonzero(may & ((outward * normals).sum(1) > _OUTWARD).numpy())


def _exits(
    geometry: HeadGeometry, track: Track, ids: list[int], reader: ImageReader, where: np.ndarray
) -> Tensor:
    """(B, n) meters along each normal to the edge of the matte; NaN where it cannot be told."""
    frames = track[track.rows(ids)].frames()
    vertices = posed_vertices(geometry, track.identity(), frames.code.vector, trunk=frames.trunk)
    normals = vertex_normals(vertices, geometry.faces)[:, where]
    roots = vertices[:, where]
    heights = torch.arange(0, _TALLEST, _STEP)
    points = roots[:, :, None] + heights[:, None] * normals[:, :, None]
    pixels = project(
        points.flatten(1, 2), frames.rotation, frames.translation, frames.intrinsics
    ).unflatten(1, points.shape[1:3])
    column, row = pixels[..., 0].floor().long(), pixels[..., 1].floor().long()
    width, height = track.width, track.height
    seen = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    mattes = torch.stack([torch.from_numpy(reader.read(i)[..., 3].copy()) for i in ids])
    flat = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    inside = mattes.flatten(1).gather(1, flat.flatten(1)).view_as(flat) > _INSIDE
    left = seen & ~inside
    known = left.any(-1) & seen[..., 0]
    center = camera_center(frames.rotation, frames.translation)
    view = torch.nn.functional.normalize(center[:, None] - roots, dim=-1)
    sine = (view * normals).sum(-1)
    known &= sine.abs() < _SLANT
    length = heights[left.float().argmax(-1)]
    upright = (_RADIUS + length) * (1 - sine.square()).clamp_min(0).sqrt() - _RADIUS
    return torch.where(known, upright.clamp_min(0), torch.nan)


def _spread(known: Tensor, faces: Tensor, where: np.ndarray) -> np.ndarray:
    """(n,) heights with NaN -> heights of all of the vertices, smooth over the mesh."""
    place = torch.full((int(faces.max()) + 1,), -1)
    place[where] = torch.arange(len(where))
    local = place[faces]
    local = local[(local >= 0).all(1)]
    edges = torch.cat([local[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0))])
    edges = torch.cat([edges, edges.flip(1)])
    fixed = torch.isfinite(known)
    heights = torch.where(fixed, known, 0.0)
    trust = fixed.float()
    for turn in range(_FILLING + _SMOOTHING):
        total = torch.zeros_like(heights).index_add_(0, edges[:, 0], (heights * trust)[edges[:, 1]])
        weight = torch.zeros_like(heights).index_add_(0, edges[:, 0], trust[edges[:, 1]])
        mean = total / weight.clamp_min(1e-6)
        free = ~fixed if turn < _FILLING else torch.ones_like(fixed)
        heights = torch.where(free & (weight > 0), mean, heights)
        trust = torch.where(weight > 0, 1.0, trust)
    return heights.numpy()
