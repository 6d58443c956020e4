"""Multi-PIE's 68 landmarks on the ICT head: 51 fixed points and the sliding jaw line."""

import numpy as np
import torch

from headsplat.gaussians.raster.triangles import rasterize_triangles
from headsplat.heads.model import CONTOUR_BINS, CONTOUR_POINTS, ContourSet, LandmarkSet

# The jaw line slides on curves from its frontal vertex towards this point in front of the lips.
FRONT = (0.0, -0.040)
REACH = 0.8
STEPS = 240
PIXELS_PER_METRE = 4000


def static_points(faces: np.ndarray, skin: np.ndarray, vertices: np.ndarray) -> LandmarkSet:
    """Points 17..67, each at a vertex.

    Args:
        faces: (F, 3).
        skin: (F,) bool, triangles that may carry a landmark.
        vertices: (68,) vertex of each point.
    """
    rows, weights = at_vertices(faces, skin, vertices[17:])
    return LandmarkSet(rows, weights, np.arange(17, 68, dtype=np.int32), faces[rows])


def at_vertices(
    faces: np.ndarray, allowed: np.ndarray, vertices: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A triangle with each vertex, (n,) i32, and the weights (n, 3) f32 that pick the vertex."""
    rows = np.array([np.flatnonzero(allowed & (faces == v).any(1))[0] for v in vertices])
    weights = (faces[rows] == vertices[:, None]).astype(np.float32)
    return rows.astype(np.int32), weights


def contour(
    template: np.ndarray, faces: np.ndarray, skin: np.ndarray, vertices: np.ndarray
) -> ContourSet:
    """The jaw line of each yaw: on each of 17 curves, the point that lies outermost in the image.

    At zero yaw, and on the side that turns towards the camera, that is the resting vertex or close
    to it; on the other side the outline moves over the cheek towards the mouth.

    Args:
        template: (V, 3) meters.
        faces: (F, 3).
        skin: (F,) bool, triangles of face and neck.
        vertices: (>= 17,) resting vertices, from the subject's right ear to the left one.
    """
    rest_face, rest_weights = at_vertices(faces, skin, vertices[:CONTOUR_POINTS])
    rest = template[vertices[:CONTOUR_POINTS]]
    shares = np.linspace(0, REACH, STEPS)[:, None]
    front = _front_view(template, faces, np.flatnonzero(skin))
    face = np.empty((CONTOUR_BINS, CONTOUR_POINTS), dtype=np.int32)
    barycentric = np.empty((CONTOUR_BINS, CONTOUR_POINTS, 3), dtype=np.float32)
    for point in range(CONTOUR_POINTS):
        way = rest[point, :2] + shares * (np.array(FRONT) - rest[point, :2])
        curve_face, curve_weights = front(way)
        curve_face = np.concatenate([rest_face[point : point + 1], curve_face])
        curve_weights = np.concatenate([rest_weights[point : point + 1], curve_weights])
        positions = (template[faces[curve_face]] * curve_weights[..., None]).sum(1)
        outwards = rest[point, :2] - np.array(FRONT)
        for row in range(CONTOUR_BINS):
            yaw = np.deg2rad(row if row < 40 else 39 - row)
            # Turned by yaw about y, seen along z: the image's x and y.
            x = np.cos(yaw) * positions[:, 0] + np.sin(yaw) * positions[:, 2]
            pick = int((x * outwards[0] + positions[:, 1] * outwards[1]).argmax())
            face[row, point], barycentric[row, point] = curve_face[pick], curve_weights[pick]
    return ContourSet(face, barycentric, faces[face])


def _front_view(template: np.ndarray, faces: np.ndarray, rows: np.ndarray):
    """A function from (n, 2) x, y to the frontmost of the triangles `rows` there, with weights."""
    corner = template[:, :2].min(0)
    size = np.ceil((template[:, :2].max(0) - corner) * PIXELS_PER_METRE).astype(int)
    points = np.empty((1, len(template), 3), dtype=np.float32)
    points[0, :, :2] = (template[:, :2] - corner) * PIXELS_PER_METRE
    # Distance at which perspective is negligible.
    points[0, :, 2] = 100.0 - template[:, 2]
    found, weights = rasterize_triangles(
        torch.from_numpy(points), torch.from_numpy(faces[rows]), int(size[0]), int(size[1])
    )
    found, weights = found[0].numpy(), weights[0].numpy()

    def lookup(way: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        column, row = np.floor((way - corner) * PIXELS_PER_METRE).astype(int).T
        hit = found[row, column] >= 0
        return rows[found[row[hit], column[hit]]].astype(np.int32), weights[row[hit], column[hit]]

    return lookup
