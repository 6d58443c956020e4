"""Anchor points of Gaussians on the head mesh: UV texels or area samples, and their poses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headsplat.gaussians.raster.operators import Operator
from headsplat.heads.model import HeadModel
from headsplat.runtime.checks import check_shape
from headsplat.runtime.errors import UserError

_place_anchors = Operator("place_anchors", lambda vertices, corners, weights, heights: (
    vertices.new_empty((len(vertices), len(heights), 3)),
    vertices.new_empty((len(vertices), len(heights), 4)),
))  # fmt: skip

# Anchor density per area relative to plain skin. Small salient regions (eyes, lips, teeth) need
# more; the neck needs less.
REGION_DENSITY: dict[str, float] = {
    "neck": 0.6,
    "forehead": 0.8,
    "nose": 1.5,
    "eye_region": 2.5,
    "brows": 2.0,
    "lips": 3.5,
    "teeth": 3.0,
    "mouth_interior": 1.2,
    "left_eyeball": 2.5,
    "right_eyeball": 2.5,
}
# Layers of anchors above the scalp for hair: height in meters, relative density.
HAIR_SHELLS: tuple[tuple[float, float], ...] = ((0.008, 0.35), (0.018, 0.2))
# Layers within tall hair: share of its height, relative density. Hair counts as tall from this
# height in meters on, where it stands out of the shells; they suit shorter hair better.
HAIR_LAYERS: tuple[tuple[float, float], ...] = ((0.5, 0.35), (0.95, 0.35))
LEAST_HAIR = 0.02
# Twice the area, in square meters, below which a triangle counts as collapsed.
_COLLAPSED = 1e-9


@dataclass(frozen=True)
class Anchors:
    """N points on (or at a height above) the triangles of a head.

    Attributes:
        face: (N,) i32, rows of `HeadModel.faces`.
        barycentric: (N, 3) f32 weights of the face's corners.
        height: (N,) f32 meters along the face's normal.
    """

    face: np.ndarray
    barycentric: np.ndarray
    height: np.ndarray

    def __len__(self) -> int:
        return len(self.face)

    def rest_points(self, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
        """(V, 3) vertices -> (N, 3) points on the surface, heights ignored."""
        return np.einsum("nk,nkc->nc", self.barycentric, vertices[faces[self.face]])


def faces_inside(model: HeadModel, region: str) -> np.ndarray:
    """(F,) bool: faces whose three corners all belong to `region` (none without such a region)."""
    member = np.zeros(len(model.template), dtype=bool)
    member[model.regions.get(region, np.zeros(0, dtype=np.int32))] = True
    return member[model.faces].all(1)


def faces_touching(model: HeadModel, region: str) -> np.ndarray:
    """(F,) bool: faces with at least one corner in `region`."""
    member = np.zeros(len(model.template), dtype=bool)
    member[model.regions[region]] = True
    return member[model.faces].any(1)


def texel_anchors(model: HeadModel, size: int = 128) -> Anchors:
    """FlashAvatar's points: the centers of covered UV texels, without the open neck edge.

    Texel (row r, column c) samples u = (c + 0.5) / size, v = 1 - (r + 0.5) / size. It is covered
    if it is strictly inside a UV triangle. Order is row-major. Texels of faces that touch the
    region `boundary` are dropped. For FLAME with FlameMesh.obj at 128 these are 13,453 points.

    Raises:
        UserError: no texel is covered.
    """
    face, barycentric = _kept_texels(model, size)
    if not len(face):
        raise UserError(f"head model {model.name}: its UV atlas covers no texel; rebuild it")
    return Anchors(face, barycentric, np.zeros(len(face), dtype=np.float32))


def texel_count(model: HeadModel, size: int) -> int:
    """Number of anchors that `texel_anchors` makes."""
    return len(_kept_texels(model, size)[0])


def _kept_texels(model: HeadModel, size: int) -> tuple[np.ndarray, np.ndarray]:
    face, barycentric = rasterize_uv(model.uv, model.uv_faces, size)
    keep = ~faces_touching(model, "boundary")[face]
    return face[keep], barycentric[keep]


def rasterize_uv(uv: np.ndarray, uv_faces: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Texels strictly inside UV triangles, in row-major order; the lowest face wins an overlap.

    Args:
        uv: (T, 2) u right, v up.
        uv_faces: (F, 3).
        size: texels per side.

    Returns:
        (n,) i32 face of each covered texel and (n, 3) f32 barycentric weights.
    """
    # Continuous texel coordinates: x = column + 0.5, y = row + 0.5 at texel centers.
    corners = np.stack([uv[:, 0], 1 - uv[:, 1]], -1).astype(np.float64)[uv_faces] * size
    low = np.clip(np.ceil(corners.min(1) - 0.5), 0, size).astype(np.int64)
    high = np.clip(np.floor(corners.max(1) - 0.5) + 1, 0, size).astype(np.int64)
    extent = np.maximum(high - low, 0)
    count = extent.prod(1)
    face = np.repeat(np.arange(len(uv_faces)), count)
    inside_box = np.arange(len(face)) - np.repeat(np.cumsum(count) - count, count)
    column = low[face, 0] + inside_box % np.maximum(extent[face, 0], 1)
    row = low[face, 1] + inside_box // np.maximum(extent[face, 0], 1)

    a, b, c = corners[face, 0], corners[face, 1], corners[face, 2]
    p = np.stack([column + 0.5, row + 0.5], -1)
    area = _cross(b - a, c - a)
    # Twice the area, in units where the map spans [-1, 1]; degenerate triangles are skipped.
    solid = np.abs(area) * (2 / size) ** 2 > 1e-8
    safe = np.where(solid, area, 1.0)
    weights = np.stack([_cross(c - b, p - b), _cross(a - c, p - c), _cross(b - a, p - a)], -1)
    weights = weights / safe[:, None]
    covered = np.flatnonzero(solid & (weights > 0).all(1))
    texel = row[covered] * size + column[covered]
    _, first = np.unique(texel, return_index=True)
    kept = covered[first]
    return face[kept].astype(np.int32), weights[kept].astype(np.float32)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def sample_anchors(
    model: HeadModel,
    vertices: np.ndarray,
    count: int,
    visibility: np.ndarray | None = None,
    density: Mapping[str, float] | None = None,
    shells: Sequence[tuple[float, float]] = HAIR_SHELLS,
    hair: np.ndarray | None = None,
) -> Anchors:
    """`count` anchors in proportion to area times density, evenly spread and deterministic.

    Args:
        model: the head.
        vertices: (V, 3) vertices of the subject's neutral head, meters; their areas are used.
        count: how many anchors.
        visibility: (F,) in 0..1, a factor per face, or None for 1 everywhere.
        density: region -> factor; regions the model lacks are ignored. The largest factor wins
            where regions overlap.
        shells: further layers over the scalp: (height in meters, density factor).
        hair: (V,) height of the hair above each vertex in meters, or None; where it is tall, layers
            within it replace the shells.

    Raises:
        UserError: no face is left to carry anchors.
    """
    corners = vertices.astype(np.float64)[model.faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    weight = 0.5 * np.linalg.norm(normal, axis=1)
    weight *= _face_density(model, REGION_DENSITY if density is None else density)
    if visibility is not None:
        weight *= visibility
    tall = np.zeros(len(model.faces)) if hair is None else hair[model.faces].min(1)
    tall = np.where(tall >= LEAST_HAIR, tall, 0.0)
    bald = np.flatnonzero(faces_inside(model, "scalp") & (tall == 0))
    hairy = np.flatnonzero(tall)
    layers = [(np.arange(len(model.faces)), np.zeros(len(model.faces)), weight)]
    layers += [(bald, np.full(len(bald), h), weight[bald] * factor) for h, factor in shells]
    layers += [(hairy, tall[hairy] * h, weight[hairy] * factor) for h, factor in HAIR_LAYERS]

    face = np.concatenate([ids for ids, _, _ in layers])
    height = np.concatenate([heights for _, heights, _ in layers]).astype(np.float32)
    cumulated = np.cumsum(np.concatenate([w for _, _, w in layers]))
    if not cumulated[-1] > 0:
        raise UserError(f"head model {model.name}: no face can carry Gaussians; check the track")
    # Stratified sampling of the cumulated weight: exact proportions without clusters.
    picked = np.searchsorted(cumulated, (np.arange(count) + 0.5) / count * cumulated[-1])
    return Anchors(face[picked].astype(np.int32), _spread_barycentric(count), height[picked])


def _face_density(model: HeadModel, density: Mapping[str, float]) -> np.ndarray:
    above = np.ones(len(model.faces))
    below = np.ones(len(model.faces))
    for region, factor in density.items():
        inside = faces_inside(model, region)
        target = above if factor >= 1 else below
        target[inside] = np.maximum(above[inside], factor) if factor >= 1 else factor
    return np.where(above > 1, above, below)


def _spread_barycentric(count: int) -> np.ndarray:
    """(count, 3) f32: the R2 low-discrepancy sequence folded onto the triangle."""
    golden = 1.32471795724474602596  # the plastic number: root of x^3 = x + 1
    step = np.array([1 / golden, 1 / golden**2])
    point = (0.5 + np.arange(1, count + 1)[:, None] * step) % 1.0
    folded = np.where(point.sum(1, keepdims=True) > 1, 1 - point, point)
    return np.concatenate([1 - folded.sum(1, keepdims=True), folded], 1).astype(np.float32)


class AnchoredSurface:
    """Evaluates anchors on batches of posed vertices.

    Only vertices that anchors use are needed, which saves memory for thousands of frames. Pass
    `vertex_ids` to the function that poses the head.

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
        """Positions and rotations of the anchors on posed meshes.

        Args:
            vertices: (B, n, 3) meters, the rows named by `vertex_ids`, float32. No gradient.

        Returns:
            positions (B, N, 3) meters and rotations (B, N, 4), unit quaternions that take the
            triangle's frame (first edge, in-plane, normal) to the head's; the identity where a
            triangle has collapsed (a shut lid).

        Raises:
            ValueError: the shape, type or device is wrong.
            UserError: the operators cannot be built, or not for this device.
        """
        check_shape(vertices, f"B {len(self.vertex_ids)} 3", "vertices")
        return _place_anchors(vertices.contiguous(), self._corners, self._weights, self._heights)

    def frames(self, vertices: Tensor) -> tuple[Tensor, Tensor]:
        """What `place` returns, with gradients for the vertices, and slower.

        A collapsed triangle has axes of length 0 here, where `place` gives the identity.

        Args:
            vertices: (B, n, 3) meters, rows as for `place`.

        Returns:
            positions (B, N, 3), and (B, N, 3, 3) whose columns are the axes of the triangles.
        """
        a, b, c = vertices[:, self._corners.long()].unbind(2)
        first, second = b - a, c - a
        along = torch.nn.functional.normalize(first, dim=-1)
        normal = torch.nn.functional.normalize(torch.linalg.cross(first, second), dim=-1)
        axes = torch.stack([along, torch.linalg.cross(normal, along), normal], -1)
        weights = self._weights[..., None]
        flat = a + weights[:, 0] * first + weights[:, 1] * second
        return flat + self._heights[:, None] * normal, axes

    def growth(self, before: Tensor, after: Tensor) -> Tensor:
        """How far the anchors' triangles stretch from one pose to another.

        Args:
            before: (n, 3) meters, rows as for `place`.
            after: (n, 3), likewise.

        Returns:
            (N, 2) logarithms of the extents in `after` of a disk that has extent 1 in `before`,
            along the two in-plane axes of the rotations of `place`; 0 for a collapsed triangle.
        """
        edges = [self._flat_edges(vertices) for vertices in (before, after)]
        moved = edges[1] @ torch.linalg.pinv(edges[0])
        extent = moved.norm(dim=-1)
        known = (edges[0].det() > _COLLAPSED) & (extent > 0).all(-1)
        return torch.where(known[:, None], extent.clamp_min(1e-6).log(), 0.0)

    def _flat_edges(self, vertices: Tensor) -> Tensor:
        """(N, 2, 2) the two edges of each anchor's triangle, as columns, in its own plane."""
        a, b, c = vertices[self._corners.long()].unbind(1)
        first, second = b - a, c - a
        along = torch.nn.functional.normalize(first, dim=-1)
        normal = torch.nn.functional.normalize(torch.linalg.cross(first, second), dim=-1)
        across = torch.linalg.cross(normal, along)
        axes = torch.stack([along, across], 1)
        return axes @ torch.stack([first, second], 2)
