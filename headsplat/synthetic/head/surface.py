"""Surface of the procedural head: a spline net for the skull, fields for the face.

Everything here is in millimeters: x to the subject's left, y up with 0 at the tip of the nose,
z to the front with 0 at the ear.
"""

import numpy as np
from scipy.interpolate import CubicSpline, PchipInterpolator
from scipy.spatial import cKDTree

Array = np.ndarray

# Half contours from the front midline (first point) over the left side to the back midline, from
# the base of the neck to the crown. The numbers are ordinary adult proportions.
_NET = np.array(
    [
        # base of the neck
        [(0, -165, 8), (17, -165, 5), (33, -165, -2), (47, -165, -13), (57, -165, -27),
         (60, -166, -42), (52, -166, -66), (29, -166, -82), (0, -166, -87)],
        [(0, -128, 15), (14, -128, 13), (28, -128, 7), (40, -128, -3), (48, -128, -15),
         (52, -129, -28), (48, -132, -50), (28, -134, -66), (0, -134, -71)],
        # throat and underside of the jaw
        [(0, -104, 24), (13, -104, 22), (26, -103, 16), (37, -101, 7), (46, -98, -5),
         (51, -100, -18), (49, -108, -43), (28, -114, -60), (0, -115, -65)],
        [(0, -94, 46), (13, -94, 43), (25, -92, 33), (36, -88, 19), (46, -83, 3),
         (52, -86, -13), (50, -97, -40), (28, -104, -58), (0, -105, -62)],
        [(0, -87, 61), (13, -87, 58), (26, -84, 46), (38, -79, 28), (49, -71, 7),
         (54, -74, -9), (50, -87, -38), (28, -94, -56), (0, -95, -60)],
        # chin, lower lip, mouth
        [(0, -74, 72), (15, -74, 68), (28, -72, 57), (41, -68, 34), (52, -62, 11),
         (57, -63, -6), (51, -78, -37), (28, -85, -55), (0, -86, -58)],
        [(0, -56, 74), (17, -56, 70), (31, -56, 60), (44, -55, 41), (55, -52, 15),
         (60, -52, -4), (52, -66, -37), (28, -73, -55), (0, -74, -58)],
        [(0, -36, 80), (19, -36, 74), (34, -37, 65), (48, -38, 47), (59, -37, 21),
         (64, -37, -3), (53, -50, -38), (28, -56, -56), (0, -57, -59)],
        # cheeks
        [(0, -14, 83), (20, -14, 76), (36, -16, 69), (51, -18, 52), (63, -18, 23),
         (68, -18, -4), (56, -31, -43), (29, -36, -63), (0, -37, -67)],
        [(0, 0, 82), (20, 0, 76.5), (37.5, -1, 69), (53, -2, 53), (65, -2, 24),
         (71, -2, -6), (60, -13, -50), (32, -17, -74), (0, -18, -80)],
        [(0, 17, 80), (20, 17, 75.5), (38, 16, 68), (54, 15, 52), (67, 16, 24),
         (73, 16, -8), (64, 6, -56), (34, 3, -83), (0, 3, -90)],
        # eyes, brows, forehead
        [(0, 36, 79), (20, 36, 75), (39, 36, 64.5), (55, 36, 46), (67, 36, 20),
         (74, 35, -10), (66, 26, -60), (36, 24, -90), (0, 24, -97)],
        [(0, 57, 81.5), (20, 57, 79), (40, 57, 69.5), (56, 56, 50), (68, 55, 23),
         (75, 54, -12), (67, 48, -63), (37, 46, -94), (0, 46, -102)],
        [(0, 78, 78), (20, 78, 75.5), (40, 78, 66), (56, 77, 48), (68, 76, 22),
         (75, 74, -14), (67, 70, -63), (37, 68, -94), (0, 68, -103)],
        [(0, 100, 67.5), (20, 100, 65), (39, 100, 56), (54, 99, 39), (65, 98, 13),
         (71, 96, -16), (63, 94, -60), (34, 93, -89), (0, 93, -97)],
        [(0, 121, 54), (17, 121, 51), (33, 121, 42), (46, 121, 26), (56, 120, 5),
         (60, 119, -17), (52, 118, -53), (28, 118, -77), (0, 118, -84)],
        [(0, 136.5, 22), (11, 136.5, 20), (21, 136.5, 14), (28, 136.5, 5), (32, 136.5, -6),
         (33, 136.5, -16), (28, 136.5, -34), (15, 136.5, -46), (0, 136.5, -50)],
        [(0, 142, -13)] * 9,
    ],
    dtype=np.float64,
)  # fmt: skip
# Corrections: shorten the part below the mouth and narrow the neck.
_NET[:4, :, 0] *= np.array([0.93, 0.92, 0.94, 0.975])[:, None]
_NET[:, :, 1] += 0.04 * np.clip(-40 - _NET[:, :, 1], 0, 45)
LEVELS = len(_NET)
COLUMNS = 8
_RING = np.concatenate([_NET, _NET[:, COLUMNS - 1 : 0 : -1] * (-1, 1, 1)], 1)
_AROUND = CubicSpline(
    np.arange(2 * COLUMNS + 1), np.eye(2 * COLUMNS)[[*range(2 * COLUMNS), 0]], bc_type="periodic"
)
_UPWARD = CubicSpline(np.arange(LEVELS), np.eye(LEVELS), bc_type="natural")

EYE = np.array([32.5, 33.0, 53.0])  # center of the left eyeball
EYE_RADIUS = 13.0
SEAM_Y = -36.0  # where the lips meet


def gauss(*terms: Array) -> Array:
    """exp(-sum of squares): a bump that is 1 where all terms are 0."""
    return np.exp(-sum(t * t for t in terms))


def smoothstep(value: Array, low: float, high: float) -> Array:
    """0 below `low`, 1 above `high` (which may be the smaller), with zero slope at both."""
    f = np.clip((value - low) / (high - low), 0, 1)
    return f * f * (3 - 2 * f)


def base(s: Array, t: Array) -> Array:
    """The skull and neck without features.

    Args:
        s: (N,) in -8..8, 0 at the front midline, positive on the left, 8 at the back.
        t: (N,) in 0..17, from the base of the neck to the crown.

    Returns:
        (N, 3) millimeters.
    """
    around, upward = _AROUND(np.mod(s, 2 * COLUMNS)), _UPWARD(t)
    return np.stack([((upward @ _RING[..., k]) * around).sum(1) for k in range(3)], 1)


class FrontChart:
    """Inverse of `base` on the front of the head: which (s, t) has this x and y."""

    def __init__(self) -> None:
        s, t = np.meshgrid(np.linspace(-4, 4, 81), np.linspace(3, 15.5, 126), indexing="ij")
        self._grid = np.stack([s.ravel(), t.ravel()], 1)
        places = base(self._grid[:, 0], self._grid[:, 1])
        # Depth has a small weight, so that the throat is not matched to the chin above it.
        self._tree = cKDTree(places * (1, 1, 0.15))

    def points(self, xy: Array) -> Array:
        """(N, 2) -> (N, 3): the point of the base surface in front of x and y."""
        ahead = np.column_stack([xy, np.full(len(xy), 0.15 * 80)])
        st = self._grid[self._tree.query(ahead)[1]]
        step = 1e-4
        for _ in range(5):
            here = base(st[:, 0], st[:, 1])
            a, c = ((base(st[:, 0] + step, st[:, 1]) - here)[:, :2] / step).T
            b, d = ((base(st[:, 0], st[:, 1] + step) - here)[:, :2] / step).T
            dx, dy = (xy - here[:, :2]).T
            st = st + np.stack([d * dx - b * dy, a * dy - c * dx], 1) / (a * d - b * c)[:, None]
        return base(st[:, 0], st[:, 1])


_NOSE_Y = (-17, -14, -11.5, -9, -6, -2, 3, 10, 20, 30, 38, 46)
_nose_height = PchipInterpolator(_NOSE_Y, (0, 0.8, 3.5, 10, 16, 19.5, 18.5, 13.8, 8.8, 5.2, 2.8, 0))
_nose_width = PchipInterpolator(_NOSE_Y, (9, 9, 9.5, 10.5, 11.5, 11.8, 11, 9.8, 8.8, 8.2, 8, 8.5))


def nose(x: Array, y: Array) -> Array:
    """Height of the nose above the face, millimeters."""
    inside = (y > _NOSE_Y[0]) & (y < _NOSE_Y[-1])
    at = np.clip(y, _NOSE_Y[0], _NOSE_Y[-1])
    ridge = _nose_height(at) * np.exp(-(np.abs(x / _nose_width(at)) ** 2.2)) * inside
    wing = 7.5 * np.exp(-(((np.abs(x) - 12.2) / 4.6) ** 2) - np.abs((y + 4.6) / 6.2) ** 2.6)
    flank = 3.5 * gauss(x / 17, (y + 1) / 13) + 2.2 * gauss(x / 13, (y - 22) / 14)
    # A soft maximum keeps the crease between wing and tip without a sharp edge.
    return np.cbrt(ridge**3 + wing**3 + flank**3)


def relief(x: Array, y: Array) -> Array:
    """Forward displacement of the face's features without lids and lips, millimeters."""
    a = np.abs(x)
    sockets = -6.5 * gauss((a - 32) / 15, (y - 34) / 12) - 4 * gauss((a - 17) / 7, (y - 35) / 12)
    brow = 3.0 * gauss((a - 24) / 19, (y - 55) / 7.5) + 1.5 * gauss((a - 46) / 10, (y - 52) / 8)
    cheek = 3.6 * gauss((a - 45) / 14, (y - 11) / 13) + 1.5 * gauss((a - 30) / 12, (y - 8) / 12)
    hollow = -0.8 * gauss((a - 45) / 11, (y + 33) / 15)
    fold_x = 17.5 + (-(y + 8) / 28).clip(0, 1.3) * 13.5
    fold = -1.5 * gauss((a - fold_x) / 3.2) * smoothstep(y, -2, -12) * smoothstep(y, -46, -34)
    muzzle = 3.0 * gauss(x / 21, (y + 33) / 17)
    groove = smoothstep(y, -29, -24) * smoothstep(y, -12, -16)
    philtrum = groove * (-1.1 * gauss(x / 2.6) + 0.7 * gauss((a - 5.2) / 2.4))
    sulcus = -2.6 * gauss(x / 17, (y + 54) / 5)
    chin = 4.0 * gauss(x / 15, (y + 69) / 9)
    corner = -4.0 * gauss((a - 28) / 4.5, (y + 37) / 7)
    return sockets + brow + cheek + hollow + fold + muzzle + philtrum + sulcus + chin + corner


def with_features(points: Array) -> Array:
    """Base surface points (N, 3) with nose and relief; the back of the head stays as it is."""
    x, y, z = points.T
    front = smoothstep(z, 2, 26)
    height = nose(x, y)
    out = points.copy()
    out[:, 2] += front * (height + relief(x, y))
    # The tip droops and the wings turn inwards, which a height field cannot represent.
    tip = gauss(x / 9, (y + 5.5) / 4.5)
    out[:, 1] += front * 1.2 * tip
    out[:, 1] -= front * 3.2 * smoothstep(height, 8, 20) * gauss((y + 7) / 6)
    nostril = gauss((np.abs(x) - 6.6) / 2.6, (y + 8.6) / 2.2)
    out[:, 1] += front * 2.2 * nostril
    out[:, 2] -= front * 2.0 * nostril
    return out


# Hairline: the height above which hair grows, by depth from the forehead to the nape.
_hair_y = PchipInterpolator(
    (-70, -50, -36, -26, -16, -6, 4, 12, 18, 26, 36, 48, 62, 80),
    (-66, -60, -42, -14, 20, 25, 26, 30, 45, 66, 84, 93, 97, 96),
)


def hair_amount(points: Array) -> Array:
    """Signed height above the hairline, millimeters: positive under hair. (N, 3) -> (N,)."""
    x, y, z = points.T
    # The fringe is parted on the left and exposes the right temple.
    fringe = smoothstep(z, 30, 55) * (3.5 * np.sin(x / 17 + 0.9) + 1.2 * np.sin(x / 5.3))
    return y - _hair_y(np.clip(z, -70, 80)) - fringe
