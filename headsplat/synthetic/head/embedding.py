"""MediaPipe, Multi-PIE and contour landmarks of the procedural head, from its curves."""

import numpy as np

from headsplat.heads.landmarks import MEDIAPIPE_GROUPS
from headsplat.heads.model import CONTOUR_BINS, CONTOUR_POINTS, ContourSet, LandmarkSet
from headsplat.heads.surface import closest_points
from headsplat.synthetic.head.assemble import Head
from headsplat.synthetic.head.grid import LEFT_EYE, RIGHT_EYE, SKIN
from headsplat.synthetic.head.loops import MOUTH_HALF_WIDTH, lid_line, on_lid
from headsplat.synthetic.head.parts import IRIS_DEGREES
from headsplat.synthetic.head.surface import EYE, EYE_RADIUS, FrontChart, base, with_features

Array = np.ndarray

# x and y in millimeters of MediaPipe points on the left half; the others are their mirror.
_BROW = {
    276: (49, 52), 283: (44, 55), 282: (35, 57), 295: (24, 56), 285: (13, 52.5),
    300: (49, 56), 293: (43, 60), 334: (34, 62), 296: (23, 60.5), 336: (12, 57),
}  # fmt: skip
_BROW_MIRROR = {
    276: 46, 283: 53, 282: 52, 295: 65, 285: 55, 300: 70, 293: 63, 334: 105, 296: 66, 336: 107,
}  # fmt: skip
_NOSE = {
    168: (0, 38), 6: (0, 32), 197: (0, 23), 195: (0, 14), 5: (0, 6), 4: (0, -1),
    129: (-16.5, -4), 98: (-9.5, -9), 97: (-3.5, -11), 2: (0, -13),
    326: (3.5, -11), 327: (9.5, -9), 358: (16.5, -4),
}  # fmt: skip
# Level of the spline net and furthest column of the jaw line's points, ear to chin.
_CONTOUR_LEVEL = np.array([11.3, 9.9, 8.5, 7.3, 6.3, 5.4, 4.75, 4.35, 4.2])
_CONTOUR_LAST = np.array([4.75, 4.7, 4.6, 4.5, 4.2, 3.3, 2.1, 1.0, 0.0])


class _Front:
    """Points on the face from its curves, and their embedding in the mesh."""

    def __init__(self, head: Head) -> None:
        self._head, self._chart = head, FrontChart()
        anatomy, faces = head.anatomy, head.faces
        seen = (anatomy.mouth_ring[faces].max(1) <= 2) & (anatomy.eye_ring[faces].max(1) <= 1)
        self._skin = np.flatnonzero((head.face_part == SKIN) & seen)

    def place(self, targets: Array, lip: int = 0) -> tuple[Array, Array]:
        """(n, 3) -> triangles (n,) i32 and weights (n, 3) f32.

        The lips touch at rest, so points there are assigned by `lip`: +1 upper, -1 lower, 0 off the
        lips.
        """
        head = self._head
        side = head.anatomy.mouth_upper[head.faces[self._skin]].mean(1) * lip
        allowed = self._skin[side >= 0] if lip else self._skin
        rows, weights = closest_points(head.anatomy.points, head.faces[allowed], targets)
        return allowed[rows].astype(np.int32), weights.astype(np.float32)

    def points(self, xy: Array) -> Array:
        """(n, 2) -> (n, 3) on the face."""
        return with_features(self._chart.points(np.asarray(xy, dtype=np.float64)))

    def lip(self, x: Array, ring: float, upper: int) -> Array:
        """Points of a lip loop by x, on the upper (+1) or lower (-1) lip: (n,) -> (n, 3)."""
        anatomy = self._head.anatomy
        side = anatomy.mouth_upper * upper > -0.1
        rows = np.flatnonzero((anatomy.mouth_ring == ring) & side)
        line = anatomy.points[rows[np.argsort(anatomy.points[rows, 0])]]
        return np.stack([np.interp(x, line[:, 0], line[:, axis]) for axis in range(3)], 1)


def _lids(side: int, fraction: Array, upper: Array) -> Array:
    """Points of the lid margins, 0 inner .. 1 outer corner; `side` -1 is the right eye."""
    xy = lid_line(np.asarray(fraction, dtype=np.float64), np.asarray(upper))
    return np.column_stack([xy, on_lid(xy)]) * (side, 1, 1)


def mediapipe_targets(head: Head) -> dict[int, Array]:
    """Lids, lips, brows and nose in MediaPipe's numbering, from the curves: (3,) millimeters."""
    front = _Front(head)
    targets: dict[int, Array] = {}
    share = np.linspace(0, 1, 9)[:-1]
    for side, name in ((1, "left_eye"), (-1, "right_eye")):
        # Both groups start at the outer corner and follow the lower lid.
        lids = _lids(side, np.append(1 - share, share), np.repeat([-1, 1], 8))
        targets |= dict(zip(MEDIAPIPE_GROUPS[name], lids, strict=True))
    step = np.arange(11) / 10
    for name, ring, wide in (("lips_outer", 1.0, 1.0), ("lips_inner", 2.0, 0.93)):
        along = 0.6 * (2 * step - 1) - 0.4 * np.cos(np.pi * step)
        x = wide * MOUTH_HALF_WIDTH * along
        loop = np.concatenate([front.lip(x, ring, -1), front.lip(x[-2:0:-1], ring, 1)])
        targets |= dict(zip(MEDIAPIPE_GROUPS[name], loop, strict=True))
    mirrored = {_BROW_MIRROR[index]: (-x, y) for index, (x, y) in _BROW.items()}
    flat = _BROW | mirrored | _NOSE
    return targets | dict(zip(flat, front.points(list(flat.values())), strict=True))


def mediapipe_embedding(head: Head, targets: dict[int, Array]) -> LandmarkSet:
    """MediaPipe points on the mesh: `targets` on the skin, and the irises."""
    front = _Front(head)
    lower = [i for name in ("lips_outer", "lips_inner") for i in MEDIAPIPE_GROUPS[name][:11]]
    upper = [i for name in ("lips_outer", "lips_inner") for i in MEDIAPIPE_GROUPS[name][11:]]
    sets = [_iris(head, side) for side in (1, -1)]
    for lip, wanted in ((-1, lower), (1, upper), (0, sorted(set(targets) - {*lower, *upper}))):
        face, weights = front.place(np.stack([targets[i] for i in wanted]), lip)
        sets.append(LandmarkSet(face, weights, np.array(wanted, dtype=np.int32)))
    index = np.concatenate([s.index for s in sets])
    order = index.argsort()
    return LandmarkSet(
        np.concatenate([s.face for s in sets])[order],
        np.concatenate([s.barycentric for s in sets])[order],
        index[order],
    )


def _iris(head: Head, side: int) -> LandmarkSet:
    rim = EYE_RADIUS * np.sin(np.deg2rad(IRIS_DEGREES))
    # The middle, then four places on the rim: towards the nose or temple, top, the other, bottom.
    steps = np.array([(0, 0), (1, 0), (0, 1), (-1, 0), (0, -1)]) * rim
    depth = np.sqrt(EYE_RADIUS**2 - (steps**2).sum(1))
    ball = np.flatnonzero(head.face_part == (LEFT_EYE if side > 0 else RIGHT_EYE))
    targets = EYE * (side, 1, 1) + np.column_stack([steps, depth])
    rows, weights = closest_points(head.anatomy.points, head.faces[ball], targets)
    index = MEDIAPIPE_GROUPS["left_iris" if side > 0 else "right_iris"]
    return LandmarkSet(
        ball[rows].astype(np.int32), weights.astype(np.float32), np.array(index, dtype=np.int32)
    )


def multipie_embedding(head: Head) -> LandmarkSet:
    """The 51 points of Multi-PIE that do not slide: 17..67."""
    front = _Front(head)
    brow = np.array([(-50, 54), (-41, 59), (-31, 61), (-21, 60), (-12, 56)])
    ridge = [(0, 36), (0, 24), (0, 12), (0, 1)]
    below = [(-12, -9), (-6, -11), (0, -13), (6, -11), (12, -9)]
    flat = front.points(np.concatenate([brow, brow[::-1] * (-1, 1), ridge, below]))
    right_eye = _lids(-1, [1, 0.68, 0.33, 0, 0.33, 0.68], [1, 1, 1, 1, -1, -1])
    left_eye = _lids(1, [0, 0.33, 0.68, 1, 0.68, 0.33], [1, 1, 1, 1, -1, -1])
    wide = MOUTH_HALF_WIDTH
    placed = [front.place(np.concatenate([flat, right_eye, left_eye]))]
    for ring, upper, x in (
        (1.0, 1, [-wide, -14, -5.2, 0, 5.2, 14, wide]),
        (1.0, -1, [14, 6.5, 0, -6.5, -14]),
        (2.0, 1, [-0.92 * wide, -7, 0, 7, 0.92 * wide]),
        (2.0, -1, [7.0, 0, -7]),
    ):
        placed.append(front.place(front.lip(np.array(x), ring, upper), upper))
    face, weights = (np.concatenate(rows) for rows in zip(*placed, strict=True))
    return LandmarkSet(face, weights, np.arange(17, 68, dtype=np.int32))


def contour_embedding(head: Head) -> ContourSet:
    """The jaw line of every yaw bin: along each level the outermost place the camera sees."""
    front = _Front(head)
    order = np.concatenate([np.arange(9), np.arange(7, -1, -1)])
    sign = np.where(np.arange(CONTOUR_POINTS) <= 8, -1.0, 1.0)
    columns = (sign * _CONTOUR_LAST[order])[:, None] * np.linspace(0.5, 1, 40)
    levels = np.broadcast_to(_CONTOUR_LEVEL[order][:, None], columns.shape)
    line = with_features(base(columns.ravel(), levels.ravel())).reshape(*columns.shape, 3)
    faces, weights = [], []
    for number in range(CONTOUR_BINS):
        yaw = np.deg2rad(number if number < 40 else 39 - number)
        across = line[..., 0] * np.cos(yaw) + line[..., 2] * np.sin(yaw)
        outermost = (across * sign[:, None]).argmax(1)
        face, weight = front.place(line[np.arange(CONTOUR_POINTS), outermost])
        faces.append(face)
        weights.append(weight)
    return ContourSet(np.stack(faces), np.stack(weights))
