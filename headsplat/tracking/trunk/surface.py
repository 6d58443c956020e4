"""The surface on which the trunk's motion is measured, and what of it each frame shows."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from scipy.spatial import ConvexHull

from headsplat.heads.bust import AROUND, bust
from headsplat.heads.model import HeadModel
from headsplat.heads.normals import vertex_normals
from headsplat.heads.skinning import HeadGeometry, SubjectGeometry
from headsplat.rotations import matrix_from_6d
from headsplat.track import Track

NECK_JOINT = 1
# Share of the root joint above which a vertex of the neck is taken to move with the trunk.
STEADY_SHARE = 0.7
# A collar around the neck: height above the rim and reach beyond it, meters.
COLLAR = ((0.0, 0.008), (0.012, 0.012), (0.024, 0.015), (0.036, 0.018))
# The anchor, whose camera position is solved for, lies this far below the rim.
ANCHOR_DROP = 0.06
FACING = 0.25  # least cosine between normal and view
# Of the points in one cell of the image, pixels, the nearest is taken.
CELL = 4


class TrunkSurface:
    """Points of trunk, collar and neck base in trunk space, and the outlines that hide them.

    Args:
        head: head model of the track.
        track: its identity, expressions and poses.

    Attributes:
        points: (P, 3) meters; normals (P, 3).
        anchor: (3,) meters, a point inside the chest.
        joint: (3,) meters, the neck joint.
    """

    def __init__(self, head: HeadModel, track: Track) -> None:
        geometry = HeadGeometry(head)
        identity = track.identity()
        neutral = geometry.shaped(identity).numpy()
        made = bust(head, neutral)
        rings = made.vertices.reshape(-1, AROUND, 3).astype(np.float64)
        middle = rings[0].mean(0)
        away = rings[0] - middle
        outward = away / np.linalg.norm(away[:, [0, 2]], axis=1, keepdims=True)
        outward[:, 1] = 0
        collar = np.stack([rings[0] + reach * outward + [0, up, 0] for up, reach in COLLAR])
        share = head.skinning[:, 0]
        low = _members(head, "neck", "boundary")
        base = np.flatnonzero(low & (share > STEADY_SHARE))
        bust_normals, head_normals = (
            vertex_normals(torch.as_tensor(v, dtype=torch.float32), torch.as_tensor(f).long())
            for v, f in ((made.vertices, made.faces), (neutral, head.faces))
        )
        self.points = np.concatenate([made.vertices, collar.reshape(-1, 3), neutral[base]])
        collar_normals = np.broadcast_to(outward, collar.shape).reshape(-1, 3)
        normals = [bust_normals.numpy(), collar_normals, head_normals.numpy()[base]]
        self.normals = np.concatenate(normals).astype(np.float64)
        self.points = self.points.astype(np.float64)
        self.anchor = middle - [0, ANCHOR_DROP, 0]
        exp = torch.zeros(1, track.exp.shape[1])
        self.joint = geometry.joints(identity, exp)[0, NECK_JOINT].double().numpy()
        moving = (~low, low & (share < 0.5))
        self._hulls = [_hull(neutral, mask) for mask in moving]
        ids = torch.as_tensor(np.concatenate(self._hulls))
        self._outline = SubjectGeometry(geometry, identity, ids)
        self._track = track

    def outlines(self, rows: np.ndarray) -> list[np.ndarray]:
        """Hull vertices of head and neck, (n, V, 3) meters in the head frame each."""
        track = self._track

        def part(name: str) -> torch.Tensor:
            return torch.as_tensor(getattr(track, name)[rows], dtype=torch.float32)

        def six(name: str) -> torch.Tensor:
            return matrix_from_6d(part(name).reshape(-1, 6))

        turns = torch.stack([six("jaw"), *six("eyes").reshape(len(rows), 2, 3, 3).unbind(1)], 1)
        found = self._outline.vertices(part("exp"), turns, part("eyelids"))
        points = found.double().numpy()
        return np.split(points, [len(self._hulls[0])], axis=1)


@dataclass(frozen=True)
class Shown:
    """What one frame shows of the trunk: rows (n,) of the points, pixels (n, 2), camera (n, 3)."""

    rows: np.ndarray
    pixels: np.ndarray
    camera: np.ndarray


def shown_points(
    surface: TrunkSurface,
    trunk: tuple[np.ndarray, np.ndarray],
    outlines: list[np.ndarray],
    camera: np.ndarray,
    matte: np.ndarray,
) -> Shown:
    """Points that face the camera inside the matte, and that neither head nor neck hides.

    Args:
        surface: of the subject.
        trunk: (3, 3) and (3,) trunk to camera.
        outlines: (n, 3) points of head and neck each, camera frame.
        camera: (3, 3) intrinsics of the image.
        matte: (H, W) uint8.
    """
    turn, shift = trunk
    placed = surface.points @ turn.T + shift
    cosine = -((surface.normals @ turn.T) * placed).sum(1) / np.linalg.norm(placed, axis=1)
    pixels = projected(placed, camera)
    free = cv2.threshold(matte, 200, 1, cv2.THRESH_BINARY)[1]
    for outline in outlines:
        hull = cv2.convexHull(np.round(projected(outline, camera)).astype(np.int32))
        cv2.fillConvexPoly(free, hull, 0)
    height, width = matte.shape
    inside = (pixels >= 1).all(1) & (pixels[:, 0] < width - 1) & (pixels[:, 1] < height - 1)
    rows = np.flatnonzero(inside & (cosine > FACING) & (placed[:, 2] > 0))
    column, line = pixels[rows].astype(int).T
    rows = rows[free[line, column] > 0]
    # Collar and shoulders hide what is behind them, and no part of the trunk counts twice.
    column, line = pixels[rows].astype(int).T // CELL
    order = np.lexsort((placed[rows, 2], line * width + column))
    _, first = np.unique((line * width + column)[order], return_index=True)
    rows = rows[order[first]]
    return Shown(rows, pixels[rows], placed[rows])


def projected(points: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """(n, 3) meters -> (n, 2) pixels."""
    return points[:, :2] / points[:, 2:] * [camera[0, 0], camera[1, 1]] + camera[:2, 2]


def _members(head: HeadModel, *names: str) -> np.ndarray:
    mask = np.zeros(len(head.template), bool)
    for name in names:
        mask[head.regions[name]] = True
    return mask


def _hull(points: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Vertex ids of the convex hull of some vertices, or all of them where they are flat or few."""
    rows = np.flatnonzero(mask)
    if len(rows) < 8:
        return rows
    return rows[ConvexHull(points[rows], qhull_options="QJ").vertices]
