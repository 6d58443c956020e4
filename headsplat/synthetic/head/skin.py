"""Skin mesh: a grid from neck to crown with edge loops at the eyes and the mouth."""

from dataclasses import dataclass

import numpy as np

from headsplat.synthetic.head.grid import CAVITY, SKIN, Assembly, lattice_quads, loop_quads
from headsplat.synthetic.head.loops import around, cavity_loops, eye_loops, mouth_loops
from headsplat.synthetic.head.surface import (
    LEVELS,
    FrontChart,
    base,
    gauss,
    hair_amount,
    smoothstep,
    with_features,
)

Array = np.ndarray

# x of the grid's columns on the left half at eye level, to the temple; then even steps behind.
_FRONT_X = (0, 3.2, 6.4, 9.6, 13, 17.3, 21.7, 26, 30.3, 34.7, 39, 43.3, 47.7, 52, 57, 62, 66)
_SIDE_S = (4.35, 4.7, 5.05, 5.4, 5.8, 6.2, 6.65, 7.1, 7.55, 8.0)
# y of the grid's rows on the front midline.
_ROW_Y = (
    -160, -150, -140, -130, -120, -111, -103.5, -96, -91, -87, -83.5, -79.5, -75, -70.5, -66, -61.5,
    -57.0, -52.5, -47.5, -42, -37, -32, -26.5, -21.5, -17.5, -15, -13, -11, -9.2, -7.4, -5.2,
    -2.4, 1, 5, 9, 13, 17, 21.5, 26, 30.5, 35.5, 40, 44.5, 49, 53.5, 58.5, 64, 70, 77, 85, 93,
    101, 109, 117, 124, 130, 135, 138.5,
)  # fmt: skip
_EYE_COLUMNS, _EYE_ROWS = (4, 13), (17.0, 53.5)
_MOUTH_COLUMNS, _MOUTH_ROWS = 9, (-57.0, -17.5)
# The part of the atlas that the skin fills: u0, v0, u1, v1.
_ATLAS = (0.004, 0.222, 0.996, 0.996)
_CAVITY_ATLAS = (0.69, 0.008, 0.89, 0.208)
_HAIR = 9.0


@dataclass(frozen=True)
class Skin:
    """Vertex ids and positions of the skin.

    Attributes:
        bare: (n, 3) the skin's vertices without hair, millimeters.
        bottom: ids of the two lowest rows.
        outer_lips: ids of the loop at the border of the red.
    """

    bare: Array
    bottom: Array
    outer_lips: Array


def _columns() -> Array:
    s = np.linspace(0, 5, 2001)
    x = base(s, np.full_like(s, 11.0))[:, 0]
    half = np.concatenate([np.interp(_FRONT_X, x[:1700], s[:1700]), _SIDE_S])
    return np.concatenate([-half[:0:-1], half])


def _rows() -> Array:
    t = np.linspace(0, LEVELS - 1, 4001)
    return np.interp(_ROW_Y, base(np.zeros_like(t), t)[:, 1], t)


def _perimeter(ids: Array, rows: tuple[int, int], columns: tuple[int, int]) -> tuple[Array, int]:
    """Ids on a rectangle of the grid, counter-clockwise from the middle of its left side.

    Returns:
        ids (n,) and how many steps the lower half has.
    """
    (r0, r1), (c0, c1) = rows, columns
    middle = (r0 + r1) // 2
    loop = np.concatenate(
        [
            ids[middle:r0:-1, c0], ids[r0, c0:c1], ids[r0:r1, c1], ids[r1, c1:c0:-1],
            ids[r1:middle:-1, c0],
        ]
    )  # fmt: skip
    return loop, (middle - r0) + (c1 - c0) + (middle - r0)


def _atlas_axes(columns: Array, rows: Array) -> tuple[Array, Array]:
    """U of every column and v of every row: by length, with the back, hair and neck narrowed."""

    def scaled(points: Array, weight: Array, low: float, high: float) -> Array:
        steps = np.linalg.norm(np.diff(points, axis=0), axis=1) * weight
        total = np.concatenate([[0], steps.cumsum()])
        return low + (high - low) * total / total[-1]

    middle = (np.abs(columns[1:]) + np.abs(columns[:-1])) / 2
    across = base(columns, np.full_like(columns, 10.5))
    u = scaled(across, np.interp(middle, (3, 4.5, 6, 8), (1, 0.7, 0.4, 0.35)), *_ATLAS[::2])
    upward = base(np.full_like(rows, 1.5), rows)
    height = (rows[1:] + rows[:-1]) / 2
    v = scaled(upward, np.interp(height, (1, 4, 12.5, 15), (0.5, 1, 1, 0.45)), *_ATLAS[1::2])
    return u, v


def _loop_uv(outer: Array, count: int, lower: int) -> list[Array]:
    """Atlas places of `count` loops inside the rectangle `outer` (n, 2), shrinking evenly."""
    fraction, upper = around(lower, len(outer) - lower)
    center = (outer.min(0) + outer.max(0)) / 2
    half = (outer.max(0) - outer.min(0)) / 2
    angle = np.where(upper < 0, np.pi * (1 + fraction), np.pi * (1 - fraction))
    angle[0], inner = np.pi, 0.14
    end = center + inner * half * np.stack([np.cos(angle), np.sin(angle)], 1)
    return [outer + (k + 1) / count * (end - outer) for k in range(count)]


def _lay_loops(assembly: Assembly, ids: Array, uv_ids: Array, loops, uvs, eye: bool) -> list[Array]:
    """Append loops to the mesh, each joined to the one before; returns the ids of all."""
    chain, uv_chain = [ids], [uv_ids]
    for (ring, upper, points), uv in zip(loops, uvs, strict=True):
        chain.append(assembly.add(points, SKIN, **{"eye" if eye else "mouth": (ring, upper)}))
        uv_chain.append(assembly.add_uv(uv))
    positions = assembly.positions()
    for k in range(len(loops)):
        corners = loop_quads(chain[k], chain[k + 1])
        assembly.add_quads(corners, loop_quads(uv_chain[k], uv_chain[k + 1]), positions)
    return chain


def add_skin(assembly: Assembly) -> Skin:
    """Append skin, lids, lips and the inside of the mouth; must be the first part."""
    columns, rows = _columns(), _rows()
    wide, high = len(columns) - 1, len(rows)
    front = wide // 2
    eye_rows = tuple(_ROW_Y.index(y) for y in _EYE_ROWS)
    mouth_rows = tuple(_ROW_Y.index(y) for y in _MOUTH_ROWS)
    left = tuple(front + c for c in _EYE_COLUMNS)
    right = tuple(front - c for c in _EYE_COLUMNS[::-1])
    mouth = (front - _MOUTH_COLUMNS, front + _MOUTH_COLUMNS)
    holes = ((eye_rows, left), (eye_rows, right), (mouth_rows, mouth))

    used = np.ones((high, wide), dtype=bool)
    solid = np.ones((high - 1, wide), dtype=bool)
    for (r0, r1), (c0, c1) in holes:
        used[r0 + 1 : r1, c0 + 1 : c1] = False
        solid[r0:r1, c0:c1] = False
    s, t = np.meshgrid(columns[:-1], rows)
    bare = with_features(base(s[used], t[used]))
    crown = np.array([[0.0, 142.0, -13.0]])
    bare = np.concatenate([bare, crown])
    vertex = assembly.add(bare + _hair(bare), SKIN)
    ids = np.full((high, wide), -1)
    ids[used] = vertex[:-1]
    ids = np.concatenate([ids, ids[:, :1]], 1)

    u, v = _atlas_axes(columns, rows)
    top = v[-1] - 0.012
    v[-1] = top
    uv = np.stack(np.broadcast_arrays(u, v[:, None]), -1)
    uv_used = np.concatenate([used, used[:, :1]], 1)
    uv_ids = np.full((high, wide + 1), -1)
    uv_ids[uv_used] = assembly.add_uv(uv[uv_used])
    positions = assembly.positions()
    keep = solid.ravel()
    assembly.add_quads(lattice_quads(ids)[keep], lattice_quads(uv_ids)[keep], positions)
    # The crown is closed by a fan; each triangle has its own tip in the atlas.
    tips = assembly.add_uv(np.stack([(u[:-1] + u[1:]) / 2, np.full(wide, _ATLAS[3])], 1))
    fan = np.stack([ids[-1, :-1], ids[-1, 1:], np.full(wide, vertex[-1])], 1)
    assembly.add_triangles(fan, np.stack([uv_ids[-1, :-1], uv_ids[-1, 1:], tips], 1))

    chart = FrontChart()

    def surface(xy: Array) -> Array:
        points = with_features(chart.points(xy))
        return np.column_stack([xy, points[:, 2]])

    flat_uv = np.concatenate(assembly.uv)
    for (rows_, columns_), is_left in zip(holes[:2], (True, False), strict=True):
        loop, lower = _perimeter(ids, rows_, columns_)
        uv_loop, _ = _perimeter(uv_ids, rows_, columns_)
        start = positions[loop]
        if is_left:
            loops = eye_loops(start, lower, surface)
        else:
            # The mirrored loop runs the other way round from the other corner.
            flip = (lower - np.arange(len(loop))) % len(loop)
            loops = [
                (ring, upper[flip], points[flip] * (-1, 1, 1))
                for ring, upper, points in eye_loops(start[flip] * (-1, 1, 1), lower, surface)
            ]
        uvs = _loop_uv(flat_uv[uv_loop], len(loops), lower)
        _lay_loops(assembly, loop, uv_loop, loops, uvs, eye=True)

    loop, lower = _perimeter(ids, mouth_rows, mouth)
    uv_loop, _ = _perimeter(uv_ids, mouth_rows, mouth)
    loops = mouth_loops(positions[loop], lower, surface)
    uvs = _loop_uv(flat_uv[uv_loop], len(loops), lower)
    chain = _lay_loops(assembly, loop, uv_loop, loops, uvs, eye=False)
    _add_cavity(assembly, chain[-1], loops[-1][1], loops[-1][2])
    border = chain[len(chain) - 1 - len(loops) + [r for r, _, _ in loops].index(1.0) + 1]
    return Skin(
        bare=np.concatenate([bare, assembly.positions()[len(bare) :]]),
        bottom=ids[:2, :-1].ravel(),
        outer_lips=border,
    )


def _add_cavity(assembly: Assembly, start_ids: Array, upper: Array, start: Array) -> None:
    """Append the mouth cavity behind the innermost lip loop, on a separate atlas island."""
    loops = cavity_loops(start, upper)
    u0, v0, u1, v1 = _CAVITY_ATLAS
    center, half = np.array([u0 + u1, v0 + v1]) / 2, (u1 - u0) / 2
    count = len(start_ids)
    angle = np.pi + 2 * np.pi * np.arange(count) / count
    circle = np.stack([np.cos(angle), np.sin(angle)], 1)
    chain, uv_chain = [start_ids], [assembly.add_uv(center + half * circle)]
    for k, points in enumerate(loops, 1):
        chain.append(assembly.add(points, CAVITY, mouth=(2.5 + k, upper)))
        radius = half * (1 - k / (len(loops) + 1))
        uv_chain.append(assembly.add_uv(center + radius * circle))
    throat = assembly.add(loops[-1].mean(0, keepdims=True) - (0, 0, 4), CAVITY, mouth=(8.5, 0))
    uv_throat = assembly.add_uv(center[None])
    positions = assembly.positions()
    for k in range(len(loops)):
        corners = loop_quads(chain[k], chain[k + 1])
        assembly.add_quads(corners, loop_quads(uv_chain[k], uv_chain[k + 1]), positions)
    last, uv_last = chain[-1], uv_chain[-1]
    assembly.add_triangles(
        np.stack([last, np.roll(last, -1), np.full(count, throat[0])], 1),
        np.stack([uv_last, np.roll(uv_last, -1), np.full(count, uv_throat[0])], 1),
    )


def _hair(points: Array) -> Array:
    """Displacement of skin points (n, 3) that lifts the hair off the skull."""
    height = hair_amount(points)
    axis = np.stack([0 * height, points[:, 1].clip(-30, 70), np.full_like(height, -14)], 1)
    outward = points - axis
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    thick = _HAIR * smoothstep(height, -1, 15) + 7 * smoothstep(height, 10, 45)
    # Hair is thin around the ears.
    ear = gauss((points[:, 1] - 14) / 30, (points[:, 2] + 10) / 24) * (np.abs(points[:, 0]) > 40)
    thick *= 1 - 0.9 * ear
    nape = 1 - 0.6 * smoothstep(points[:, 1], 0, -60)
    turn = np.arctan2(points[:, 0], points[:, 2] + 13)
    wave = 1 + 0.10 * np.sin(19 * turn + points[:, 1] / 14) + 0.07 * np.sin(7 * turn - 1)
    # A quiff above the forehead, higher on one side.
    quiff = gauss((points[:, 0] + 12) / 34, (points[:, 1] - 116) / 16) * (points[:, 2] > 0)
    thick = thick * wave + 6 * quiff
    return outward * (thick * nape)[:, None]
