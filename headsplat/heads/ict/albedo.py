"""Painted albedo of the ICT head, so that a face detector recognizes it."""

import numpy as np
import torch

from headsplat.heads.ict import parts
from headsplat.heads.ict.mesh import Graph
from headsplat.heads.ict.regions import polyline_distance
from headsplat.heads.normals import vertex_normals

SKIN = (0.80, 0.61, 0.52)
BLUSH = (0.80, 0.52, 0.46)
LIPS = (0.68, 0.37, 0.36)
BROWS = (0.24, 0.17, 0.13)
LASHES = (0.20, 0.14, 0.12)
HAIR = (0.20, 0.15, 0.12)
SCLERA = (0.90, 0.88, 0.86)
IRIS = (0.34, 0.24, 0.16)
LIMBUS = (0.16, 0.12, 0.10)
PUPIL = (0.03, 0.03, 0.03)
TEETH = (0.88, 0.85, 0.78)
GUMS = (0.66, 0.34, 0.34)
CAVITY = (0.30, 0.10, 0.10)
NOSTRIL = (0.35, 0.20, 0.17)
IRIS_RADIUS, PUPIL_RADIUS = 0.0060, 0.0021


def paint(
    vertices: np.ndarray,
    faces: np.ndarray,
    regions: dict[str, np.ndarray],
    landmarks: np.ndarray,
    eye_centers: np.ndarray,
) -> np.ndarray:
    """(V, 3) sRGB colors in 0..1.

    Args:
        vertices: (V, 3) neutral in meters, ICT's numbering.
        faces: (F, 3) triangles that are kept.
        regions: masks of `build_regions`.
        landmarks: (68,) vertices in Multi-PIE order.
        eye_centers: (2, 3) left and right.
    """
    color = np.tile(np.array(SKIN), (len(vertices), 1))
    graph = Graph(faces, vertices)

    def soft(name: str) -> np.ndarray:
        return graph.smooth(regions[name].astype(float), 2, np.zeros(len(vertices), dtype=bool))

    def blend(weight: np.ndarray, tint: tuple[float, float, float], where: np.ndarray) -> None:
        amount = np.where(where, weight, 0.0)[:, None]
        color[:] = color * (1 - amount) + amount * np.array(tint)

    front = vertices[:, :2]
    for side in (-1, 1):
        cheek = np.linalg.norm((front - (side * 0.042, -0.012)) / (0.024, 0.018), axis=1)
        blend(0.5 * np.exp(-(cheek**2)), BLUSH, regions["face"])
    for brow in (landmarks[17:22], landmarks[22:27]):
        distance = polyline_distance(front, vertices[brow, :2])
        blend(_fade(distance, 0.0022, 0.0048), BROWS, regions["brows"])
    for upper, lower, inner in (
        ((36, 37, 38, 39), (39, 40, 41, 36), 39),
        ((42, 43, 44, 45), (45, 46, 47, 42), 42),
    ):
        # No lashes grow around the inner corner.
        outside = 1 - _fade(
            np.linalg.norm(vertices - vertices[landmarks[inner]], axis=1), 3e-3, 6e-3
        )
        for line, strength, width in ((upper, 1.0, 0.0022), (lower, 0.5, 0.0016)):
            lash = polyline_distance(vertices, vertices[landmarks[list(line)]])
            blend(strength * outside * _fade(lash, 0.0005, width), LASHES, regions["face"])
    blend(soft("lips"), LIPS, regions["face"])
    blend(_inside_nose(vertices, faces, landmarks), NOSTRIL, regions["face"])
    blend(soft("scalp"), HAIR, np.ones(len(vertices), dtype=bool))
    for name in ("left_socket", "right_socket"):
        color[parts.PARTS[name].vertices] = BLUSH
    depth = _fade(-vertices[:, 2], -0.045, -0.005)
    color[parts.PARTS["mouth_socket"].vertices] = CAVITY
    color[parts.PARTS["gums"].vertices] = GUMS
    color[parts.PARTS["teeth"].vertices] = TEETH
    inside = np.zeros(len(vertices), dtype=bool)
    for name in ("mouth_socket", "gums", "teeth"):
        inside[parts.PARTS[name].vertices] = True
    color[inside] *= (0.25 + 0.75 * depth[inside])[:, None]
    for name, center in zip(("left_eyeball", "right_eyeball"), eye_centers, strict=True):
        ids = np.array(parts.PARTS[name].vertices)
        color[ids] = _eye(vertices[ids] - center)
    return color.astype(np.float32)


def gaze_axis(offsets: np.ndarray) -> np.ndarray:
    """Unit axis of an eyeball, (n, 3) offsets from its center: the middle of the cornea's bulge."""
    radius = np.linalg.norm(offsets, axis=1)
    bulge = (radius - np.quantile(radius, 0.5) - 0.0002).clip(0)
    axis = (offsets / radius[:, None] * bulge[:, None]).sum(0)
    return axis / np.linalg.norm(axis)


def _eye(offsets: np.ndarray) -> np.ndarray:
    axis = gaze_axis(offsets)
    along = offsets @ axis
    across = np.linalg.norm(offsets - along[:, None] * axis, axis=1)
    across[along < 0] = np.inf
    rings = (
        0,
        PUPIL_RADIUS,
        PUPIL_RADIUS + 3e-4,
        IRIS_RADIUS - 8e-4,
        IRIS_RADIUS,
        IRIS_RADIUS + 6e-4,
    )
    colors = np.array([PUPIL, PUPIL, IRIS, IRIS, LIMBUS, SCLERA])
    return np.stack([np.interp(across, rings, colors[:, c]) for c in range(3)], 1)


def _inside_nose(vertices: np.ndarray, faces: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """1 on the walls of the nostrils: near a nostril's middle and facing it."""
    tensor = torch.from_numpy(vertices)
    normals = vertex_normals(tensor, torch.from_numpy(faces).long()).numpy()
    base, wing = vertices[landmarks[33]], vertices[landmarks[35]]
    above = _fade(base[1] - vertices[:, 1], -0.0006, 0.0008)
    dark = np.zeros(len(vertices))
    for side in (-1, 1):
        middle = base + (side * 0.62 * wing[0], 0.0085, 0.001)
        inwards = middle - vertices
        distance = np.linalg.norm(inwards, axis=1)
        towards = (normals * inwards).sum(1) / distance
        wall = _fade(-towards, -0.4, 0.0) * _fade(distance, 0.0085, 0.0105)
        dark = np.maximum(dark, wall * above)
    return dark


def _fade(distance: np.ndarray, full: float, none: float) -> np.ndarray:
    """1 up to `full`, 0 from `none` on, smooth between."""
    t = ((distance - full) / (none - full)).clip(0, 1)
    return 1 - t * t * (3 - 2 * t)
