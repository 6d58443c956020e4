"""Parts in or on the skin: eyeballs, teeth, tongue, ears."""

import numpy as np
from scipy.interpolate import PchipInterpolator

from headsplat.synthetic.head.grid import (
    LEFT_EAR,
    LEFT_EYE,
    LOWER_TEETH,
    RIGHT_EAR,
    RIGHT_EYE,
    TONGUE,
    UPPER_TEETH,
    Assembly,
    lattice_quads,
    loop_quads,
)
from headsplat.synthetic.head.surface import EYE, EYE_RADIUS

Array = np.ndarray

EYE_SEGMENTS = 26
# Angles from the pupil's center, degrees; loops sit at the edges of pupil and iris.
EYE_LOOPS = (7, 13, 19, 25, 29, 35, 43, 53, 65, 80, 98, 120, 148)
IRIS_DEGREES, PUPIL_DEGREES = 27.5, 11.0
_EYE_ATLAS = {LEFT_EYE: (0.104, 0.108), RIGHT_EYE: (0.314, 0.108)}
_EAR_ATLAS = {LEFT_EAR: (0.486, 0.108), RIGHT_EAR: (0.622, 0.108)}
_TEETH_ATLAS = {UPPER_TEETH: (0.152, 0.208), LOWER_TEETH: (0.088, 0.144)}
_TEETH_U = (0.9, 0.996)
_TONGUE_ATLAS = (0.948, 0.04)


def _sphere_uv(degrees: Array) -> Array:
    """Atlas radius 0..1 by angle from the pole: the visible front takes nearly all of it."""
    return np.interp(degrees, (0, 30, 65, 98, 180), (0, 0.45, 0.8, 0.94, 1.0))


def add_eyeball(assembly: Assembly, part: int) -> Array:
    """Append one eyeball with its pole at the pupil; returns its ids, the pole first."""
    side = 1 if part == LEFT_EYE else -1
    center = EYE * (side, 1, 1)
    angle = 2 * np.pi * np.arange(EYE_SEGMENTS) / EYE_SEGMENTS
    circle = np.stack([np.cos(angle), np.sin(angle)], 1)
    place = np.array(_EYE_ATLAS[part])
    uv_pole = assembly.add_uv(place[None])
    pole = assembly.add((center + (0, 0, EYE_RADIUS))[None], part)
    rings, uv_rings = [], []
    for degrees in EYE_LOOPS:
        tilt = np.deg2rad(degrees)
        ring = np.column_stack(
            [EYE_RADIUS * np.sin(tilt) * circle, np.full(EYE_SEGMENTS, EYE_RADIUS * np.cos(tilt))]
        )
        rings.append(assembly.add(center + ring, part))
        uv_rings.append(assembly.add_uv(place + 0.1 * _sphere_uv(degrees) * circle))
    back = assembly.add((center - (0, 0, EYE_RADIUS))[None], part)
    # The back of the sphere is a thin outer band; its pole is repeated around.
    uv_back = assembly.add_uv(
        place
        + 0.1
        * np.stack([np.cos(angle + np.pi / EYE_SEGMENTS), np.sin(angle + np.pi / EYE_SEGMENTS)], 1)
    )
    positions = assembly.positions()

    def fan(tip: Array, ring: Array) -> Array:
        return np.stack([ring, np.roll(ring, -1), np.broadcast_to(tip, len(ring))], 1)

    assembly.add_triangles(fan(pole, rings[0]), fan(uv_pole, uv_rings[0]))
    for k in range(len(rings) - 1):
        corners = loop_quads(rings[k + 1], rings[k])
        assembly.add_quads(corners, loop_quads(uv_rings[k + 1], uv_rings[k]), positions)
    assembly.add_triangles(fan(back, rings[-1])[:, ::-1], fan(uv_back, uv_rings[-1])[:, ::-1])
    return np.concatenate([pole, *rings, back])


def dental_arch(fraction: Array, front: float, half_width: float = 25.0) -> tuple[Array, Array]:
    """X and z of a row of teeth; fraction 0 is the subject's right end, 1 the left end."""
    turn = np.pi * (fraction - 0.5)
    x = half_width * np.sin(turn) * (0.86 + 0.14 * np.abs(np.sin(turn)))
    return x, front - 34.0 * (1 - np.cos(turn)) ** 0.8


def add_teeth(assembly: Assembly, part: int) -> Array:
    """Append one row of teeth as a folded strip: gum, face, edge, back."""
    fraction = np.linspace(0, 1, 29)
    if part == UPPER_TEETH:
        heights, fronts, rise = (
            (-22.0, -28.0, -38.2, -38.0, -29.0),
            (71.5, 72.8, 73.2, 70.2, 67),
            3.0,
        )
    else:
        heights, fronts, rise = (
            (-52.0, -46.0, -37.2, -37.4, -46.0),
            (68, 69.6, 69.9, 67.2, 64),
            -1.5,
        )
    rows = []
    for height, front in zip(heights, fronts, strict=True):
        x, z = dental_arch(fraction, front)
        rows.append(np.stack([x, height + rise * (2 * fraction - 1) ** 2, z], 1))
    ids = np.stack([assembly.add(row, part) for row in rows])
    v0, v1 = _TEETH_ATLAS[part]
    u = _TEETH_U[0] + (_TEETH_U[1] - _TEETH_U[0]) * fraction
    v = np.linspace(v1, v0, len(rows))
    if part == LOWER_TEETH:
        v = v[::-1]
    uv_ids = np.stack([assembly.add_uv(np.stack([u, np.full_like(u, value)], 1)) for value in v])
    order = slice(None, None, -1) if part == UPPER_TEETH else slice(None)
    assembly.add_quads(
        lattice_quads(ids[order]), lattice_quads(uv_ids[order]), assembly.positions()
    )
    return ids.ravel()


def add_tongue(assembly: Assembly) -> Array:
    """Append the tongue: the upper half of a long flat body, lower side tucked under."""
    segments, levels = 16, (0.0, 0.35, 0.62, 0.82, 0.95, 1.0)
    angle = 2 * np.pi * np.arange(segments) / segments
    circle = np.stack([np.sin(angle), np.cos(angle)], 1)
    place = np.array(_TONGUE_ATLAS)
    rings, uv_rings = [], []
    for k, radius in enumerate(levels[1:], 1):
        drop = 7.0 * (1 - np.sqrt(1 - radius**2)) if k < len(levels) - 1 else 9.0
        rings.append(
            assembly.add(
                np.column_stack(
                    [
                        17.5 * radius * circle[:, 0],
                        -39.5 - drop - 1.2 * np.exp(-((17.5 * radius * circle[:, 0] / 3) ** 2)),
                        49 + 17 * radius * circle[:, 1],
                    ]
                ),
                TONGUE,
            )
        )
        uv_rings.append(assembly.add_uv(place + 0.035 * k / 5 * circle * (1, -1)))
    top = assembly.add(np.array([[0.0, -40.2, 49.0]]), TONGUE)
    uv_top = assembly.add_uv(place[None])
    positions = assembly.positions()
    for k in range(len(rings) - 1):
        corners = loop_quads(rings[k + 1], rings[k])
        assembly.add_quads(corners, loop_quads(uv_rings[k + 1], uv_rings[k]), positions)
    first, uv_first = rings[0], uv_rings[0]
    tip, uv_tip = np.broadcast_to(top, segments), np.broadcast_to(uv_top, segments)
    assembly.add_triangles(
        np.stack([first, np.roll(first, -1), tip], 1),
        np.stack([uv_first, np.roll(uv_first, -1), uv_tip], 1),
    )
    return np.concatenate([*rings, top])


# Outline of the left ear by angle from the top, towards the back: half width in mm.
_ear_radius = PchipInterpolator(
    np.linspace(0, 360, 13), (31, 29.5, 24.5, 20.5, 20, 24, 29, 25, 17, 13.5, 15.5, 24, 31)
)
_EAR_CENTER = np.array([78.5, 13.0, -12.0])
_EAR_SEGMENTS = 28
# Loops from the middle outwards: share of the outline, height above the ear's plane in mm.
_EAR_LOOPS = (
    (0.0, -4.0), (0.2, -4.0), (0.38, -2.5), (0.52, 0.5), (0.64, 1.5), (0.75, 0.5), (0.86, 2.2),
    (0.95, 3.4), (1.0, 2.0), (0.96, -1.5), (0.72, -7.0),
)  # fmt: skip


def add_ear(assembly: Assembly, part: int) -> Array:
    """Append one ear: a dished disc with a rolled rim, its front edge set into the head."""
    side = 1 if part == LEFT_EAR else -1
    degrees = 360 * np.arange(_EAR_SEGMENTS) / _EAR_SEGMENTS
    angle = np.deg2rad(degrees)
    # In the ear's plane: first axis up, second axis backwards.
    outline = _ear_radius(degrees)[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    lean, flare = np.deg2rad(12), np.deg2rad(28)
    place = np.array(_EAR_ATLAS[part])
    shells, uv_shells = [], []
    for k, (share, lift) in enumerate(_EAR_LOOPS):
        up, back = (share * outline).T
        lobe = np.where(np.cos(angle) < -0.5, 0.5, 1.0)
        height = lift * lobe
        y = up * np.cos(lean) + back * np.sin(lean) * 0.3
        z = -back - up * np.sin(lean)
        x = back * np.tan(flare) + height
        points = _EAR_CENTER + np.stack([x, y, z * np.cos(flare)], 1)
        points *= (side, 1, 1)
        disc = place + 0.064 * (k + 0.001) / 10 * np.stack(
            [side * np.sin(angle), 1.55 * np.cos(angle)], 1
        )
        if k == 0:
            shells.append(assembly.add(points[:1], part))
            uv_shells.append(assembly.add_uv(place[None]))
        else:
            shells.append(assembly.add(points, part))
            uv_shells.append(assembly.add_uv(disc))
    positions = assembly.positions()

    def fan(tip: Array, ring: Array) -> Array:
        return np.stack([ring, np.roll(ring, -1), np.broadcast_to(tip, len(ring))], 1)[:, ::-side]

    assembly.add_triangles(fan(shells[0], shells[1]), fan(uv_shells[0], uv_shells[1]))
    for k in range(1, len(shells) - 1):
        corners = loop_quads(shells[k + 1], shells[k])[:, ::-side]
        uv_corners = loop_quads(uv_shells[k + 1], uv_shells[k])[:, ::-side]
        assembly.add_quads(corners, uv_corners, positions)
    return np.concatenate(shells)


def eye_angles(points: Array, part: Array) -> tuple[Array, Array]:
    """Angle from the pupil's center (degrees) and round it (radians) of points on the eyeballs."""
    side = np.where(part == LEFT_EYE, 1.0, -1.0)
    arm = points - EYE * np.stack([side, np.ones_like(side), np.ones_like(side)], 1)
    degrees = np.rad2deg(np.arctan2(np.hypot(arm[:, 0], arm[:, 1]), arm[:, 2]))
    return degrees, np.arctan2(arm[:, 1], arm[:, 0])


def add_parts(assembly: Assembly) -> dict[str, Array]:
    """Append every part but the skin; returns vertex ids by name."""
    return {
        "left_eyeball": add_eyeball(assembly, LEFT_EYE),
        "right_eyeball": add_eyeball(assembly, RIGHT_EYE),
        "upper_teeth": add_teeth(assembly, UPPER_TEETH),
        "lower_teeth": add_teeth(assembly, LOWER_TEETH),
        "tongue": add_tongue(assembly),
        "left_ear": add_ear(assembly, LEFT_EAR),
        "right_ear": add_ear(assembly, RIGHT_EAR),
    }
