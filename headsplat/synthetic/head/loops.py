"""Edge loops that lead from the skin into the eyes and over the lips into the mouth."""

from collections.abc import Callable

import numpy as np
from scipy.interpolate import PchipInterpolator

from headsplat.synthetic.head.surface import EYE, EYE_RADIUS, gauss, smoothstep

Array = np.ndarray
Surface = Callable[[Array], Array]  # (N, 2) x and y -> (N, 3) on the face with its features

LID_RADIUS = EYE_RADIUS + 1.2
INNER_CANTHUS = EYE[:2] + (-14.2, -1.2)
OUTER_CANTHUS = EYE[:2] + (13.4, 1.6)
EYE_RINGS = (0.16, 0.33, 0.5, 0.65, 0.79, 0.9, 1.0)
EDGE_RING, TUCK_RING = 1.15, 1.4
MOUTH_RINGS = (0.17, 0.35, 0.53, 0.7, 0.86, 1.0)
LIP_RINGS = (1.2, 1.45, 1.7, 1.88, 2.0)
INNER_RINGS = (2.25, 2.5)
MOUTH_HALF_WIDTH = 25.5


def spread(count: int) -> Array:
    """0..1 in `count` steps, closer together towards the ends. Returns (count + 1,)."""
    even = np.linspace(0, 1, count + 1)
    return 0.5 * even + 0.25 * (1 - np.cos(np.pi * even))


def around(lower: int, upper: int) -> tuple[Array, Array]:
    """Fraction from the left to the right end of an opening, and side, of a closed loop.

    The loop starts at the viewer's left end. It runs along the lower edge to the right end and back
    along the upper edge.

    Returns:
        fraction (lower + upper,) and `upper` (lower + upper,): -1 .. 1, 0 at both ends.
    """
    there, back = spread(lower)[:-1], spread(upper)[:0:-1]
    fraction = np.concatenate([there, back])
    side = np.concatenate([-np.ones(lower), np.ones(upper)])
    return fraction, side * np.sqrt(np.sin(np.pi * fraction).clip(0))


def lid_line(fraction: Array, upper: Array) -> Array:
    """Margin of the left eye's lids; fraction 0 is the inner, 1 the outer corner. (n, 2)."""
    line = INNER_CANTHUS + fraction[:, None] * (OUTER_CANTHUS - INNER_CANTHUS)
    top = 5.4 * np.sin(np.pi * fraction**0.92).clip(0) ** 0.8
    bottom = -4.8 * np.sin(np.pi * fraction**1.12).clip(0) ** 0.9
    line[:, 1] += np.where(upper >= 0, top, bottom)
    return line


def on_lid(xy: Array, radius: float = LID_RADIUS) -> Array:
    """Depth of a lid that lies on the left eyeball at x and y, millimeters. (n, 2) -> (n,)."""
    dx, dy = (xy - EYE[:2]).T
    inside = 1 - (dx / (radius + 2.4)) ** 2 - (dy / radius) ** 2
    return EYE[2] + radius * np.sqrt(inside.clip(0.04))


def eye_loops(start: Array, lower: int, surface: Surface) -> list[tuple[float, Array, Array]]:
    """Loops around the LEFT eye from the rectangle `start` (n, 3) to behind the lids.

    Returns:
        (ring, upper (n,), points (n, 3)) of each loop, from outside to inside.
    """
    fraction, upper = around(lower, len(start) - lower)
    margin = lid_line(fraction, upper)
    loops = []
    for ring in EYE_RINGS:
        xy = start[:, :2] + ring * (margin - start[:, :2])
        points = surface(xy)
        away = np.hypot(*((xy - EYE[:2]) / (21.5, 14.0)).T)
        lid = smoothstep(away, 1.0, 0.66)
        depth = on_lid(xy)
        # The fold above the upper lid, and the soft tissue below the brow.
        crease = -1.5 * gauss((ring - 0.6) / 0.13) * upper.clip(0)
        bag = 0.5 * gauss((ring - 0.72) / 0.2) * (-upper).clip(0)
        points[:, 2] = points[:, 2] + lid * (depth - points[:, 2]) + crease + bag
        loops.append((ring, upper, points))
    center = EYE
    edge = center + (loops[-1][2] - center) * ((EYE_RADIUS + 0.15) / LID_RADIUS)
    loops.append((EDGE_RING, upper, edge))
    # Lids tuck in behind themselves; at the corners they meet the eyeball instead.
    reach = np.abs(upper)
    tuck = np.stack(
        [
            EYE[0] + (margin[:, 0] - EYE[0]) * (0.84 + 0.12 * reach),
            EYE[1] + (margin[:, 1] - EYE[1]) + upper * 3.5,
        ],
        1,
    )
    depth = on_lid(tuck, EYE_RADIUS + 0.1)
    loops.append((TUCK_RING, upper, np.column_stack([tuck, depth])))
    return loops


def closed_lid_shift(ring: Array, upper: Array, points: Array) -> Array:
    """Displacement of the LEFT eye's lids from open to closed.

    Args:
        ring: (n,) loop values of vertices round the eye.
        upper: (n,) side values.
        points: (n, 3) their places with open eyes.

    Returns:
        (n, 3) millimeters. Margins of both lids meet on one line just above the lower lid.
    """
    span = OUTER_CANTHUS[0] - INNER_CANTHUS[0]
    fraction = ((points[:, 0] - INNER_CANTHUS[0]) / span).clip(0, 1)
    lower, top = (lid_line(fraction, np.full(len(fraction), side)) for side in (-1.0, 1.0))
    meet = lower[:, 1] + 0.16 * (top[:, 1] - lower[:, 1])
    travel = meet - np.where(upper >= 0, top[:, 1], lower[:, 1])
    # At a corner both margins already touch, so travel is 0 there whatever the side.
    share = smoothstep(ring, 0.42, 0.97)
    moved = points[:, :2] + np.stack([np.zeros_like(travel), share * travel], 1)
    follow = smoothstep(ring, 0.45, 0.8)
    depth = np.where(
        ring > 1, on_lid(moved, EYE_RADIUS + 0.15) - on_lid(points[:, :2], EYE_RADIUS + 0.15),
        on_lid(moved) - points[:, 2],
    )  # fmt: skip
    return np.column_stack([moved - points[:, :2], follow * depth])


_x = (0, 2.5, 5.2, 9, 14, 20, 25.5)
_upper_border = PchipInterpolator(_x, (-29.4, -28.9, -28.0, -28.9, -31.0, -33.9, -36.5))
_lower_border = PchipInterpolator(_x, (-46.6, -46.5, -46.2, -45.2, -43.2, -39.9, -36.7))
_seam = PchipInterpolator(_x, (-37.2, -37.0, -36.5, -36.2, -36.3, -36.4, -36.6))


def lip_border(x: Array, upper: Array) -> Array:
    """Height of the vermilion border of the lips at x. (n,) -> (n,)."""
    a = np.abs(x).clip(0, MOUTH_HALF_WIDTH)
    return np.where(upper >= 0, _upper_border(a), _lower_border(a))


def seam_height(x: Array) -> Array:
    """Height of the line where the lips meet."""
    return _seam(np.abs(x).clip(0, MOUTH_HALF_WIDTH))


def mouth_loops(start: Array, lower: int, surface: Surface) -> list[tuple[float, Array, Array]]:
    """Loops from the rectangle `start` (n, 3) over the lips to just behind them.

    Returns:
        (ring, upper (n,), points (n, 3)) of each loop, from outside to inside.
    """
    fraction, upper = around(lower, len(start) - lower)
    x = MOUTH_HALF_WIDTH * (2 * fraction - 1)
    border = np.stack([x, lip_border(x, upper)], 1)
    loops = []
    for ring in MOUTH_RINGS:
        xy = start[:, :2] + ring * (border - start[:, :2])
        points = surface(xy)
        points[:, 2] += 0.5 * gauss((ring - 1) / 0.16) * np.abs(upper)
        loops.append((ring, upper, points))
    rim = loops[-1][2]
    seam = surface(np.stack([x, seam_height(x)], 1))
    seam[:, 2] -= 1.6
    fullness = np.where(upper >= 0, 3.6, 4.6) * np.abs(upper) ** 1.2
    for ring in LIP_RINGS:
        share = ring - 1
        points = rim + share * (seam - rim)
        points[:, 0] *= 1 - 0.035 * share
        # The vermilion bulges early on the upper and late on the lower lip, then turns inwards.
        bend = np.where(upper >= 0, share**0.8, share**0.7)
        points[:, 2] += fullness * np.sin(np.pi * bend) ** 0.85
        points[:, 2] -= 1.2 * share * (1 - np.abs(upper))
        loops.append((ring, upper, points))
    lips = loops[-1][2]
    for ring, back, spacing in zip(INNER_RINGS, (2.6, 6.0), (0.5, 2.6), strict=True):
        points = lips.copy()
        points[:, 0] *= 1 - 0.02 * (ring - 2)
        points[:, 1] += spacing * upper
        points[:, 2] -= back
        loops.append((ring, upper, points))
    return loops


def cavity_loops(start: Array, upper: Array) -> list[Array]:
    """Loops of the mouth's inside, from the innermost lip loop `start` (n, 3) to the throat."""
    width = start[:, 0] / MOUTH_HALF_WIDTH
    middle = seam_height(start[:, 0])
    loops = []
    for depth, height, wide in (
        (76.0, 8.5, 26.0), (72.0, 12.5, 27.5), (60.0, 13.5, 28.5), (47.0, 12.0, 26.0),
        (36.0, 7.5, 18.0),
    ):  # fmt: skip
        loop = np.stack(
            [
                wide * width,
                middle - 1.0 + height * upper,
                depth - 15.0 * width**2 * min(1.0, (depth - 30) / 40),
            ],
            1,
        )
        loops.append(loop)
    return loops
