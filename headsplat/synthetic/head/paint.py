"""Colors of the procedural head as functions of position: skin, lips, eyes, teeth, hair."""

from dataclasses import dataclass

import numpy as np

from headsplat.synthetic.head.grid import (
    CAVITY,
    LEFT_EAR,
    LEFT_EYE,
    LOWER_TEETH,
    RIGHT_EAR,
    RIGHT_EYE,
    SKIN,
    TONGUE,
    UPPER_TEETH,
)
from headsplat.synthetic.head.parts import IRIS_DEGREES, PUPIL_DEGREES, eye_angles
from headsplat.synthetic.head.surface import gauss, hair_amount, smoothstep

Array = np.ndarray
Color = tuple[float, float, float]
# Columns of the attribute table: place in mm without hair, loops, atlas.
X, Y, Z, EYE_RING, EYE_UPPER, MOUTH_RING, MOUTH_UPPER, U, V = range(9)


@dataclass(frozen=True)
class Person:
    """Appearance of a person; colors are sRGB in 0..1, lengths in millimeters.

    Attributes:
        skin: of the forehead.
        lips: the red of the lips.
        hair: of the head.
        brows: of brows and lashes.
        iris: its middle tone.
        brow_width: thickness of the brows at their inner third.
        brow_lift: height above the usual place.
        blush: strength of the red on cheeks and nose, 0..1.
    """

    skin: Color = (0.86, 0.67, 0.56)
    lips: Color = (0.74, 0.43, 0.40)
    hair: Color = (0.23, 0.15, 0.10)
    brows: Color = (0.20, 0.13, 0.09)
    iris: Color = (0.33, 0.45, 0.52)
    brow_width: float = 6.0
    brow_lift: float = 0.0
    blush: float = 0.35


def paint(attributes: Array, part: Array, person: Person) -> Array:
    """Colors of places on the head: attributes (n, 9), part (n,) -> (n, 3) float32 sRGB."""
    out = np.zeros((len(part), 3))
    painters = {
        (SKIN, LEFT_EAR, RIGHT_EAR): _skin, (CAVITY,): _cavity,
        (LEFT_EYE, RIGHT_EYE): _eyeball, (UPPER_TEETH, LOWER_TEETH): _teeth, (TONGUE,): _tongue,
    }  # fmt: skip
    for parts, painter in painters.items():
        rows = np.isin(part, parts)
        out[rows] = painter(attributes[rows], part[rows], person)
    return out.clip(0, 1).astype(np.float32)


def _mix(under: Array, over: Array | Color, amount: Array) -> Array:
    return under + amount[:, None] * (np.asarray(over) - under)


def _noise(*coordinates: Array) -> Array:
    """Smooth deterministic noise of about -1..1: a few sine waves at odd angles."""
    total = np.zeros_like(coordinates[0])
    for k in range(1, 6):
        phase = sum(np.sin(2.3 * k * (i + 1)) * c for i, c in enumerate(coordinates))
        total += np.sin(phase * 1.7 + 2.1 * k)
    return total / 3


def _brow(at: Array, person: Person) -> Array:
    """Coverage by the brow: an arch of fine strokes."""
    a = np.abs(at[:, X])
    along = (a - 10.5) / 40.0
    inside = along.clip(0, 1)
    arch = 53.6 + person.brow_lift + 5.6 * np.sin(np.pi * 0.62 * inside) - 6.4 * inside**3
    width = person.brow_width * (1 - 0.7 * inside**1.6) * 0.5
    across = (at[:, Y] - arch) / width
    strokes = 0.82 + 0.18 * np.sin(a * 4.3 + at[:, Y] * 2.1 + 1.5 * np.sin(a * 1.3))
    body = smoothstep(np.abs(across), 1.35, 0.55) * smoothstep(along, -0.03, 0.06)
    return body * smoothstep(along, 1.03, 0.85) * strokes * (at[:, Z] > 20)


_JAW_EDGE = ((-30, -10, 7, 28, 48, 66, 80), (-64, -65, -65, -71, -76.5, -80, -83))


def _under_jaw(y: Array, z: Array) -> Array:
    """1 on the underside of the jaw and the throat, fading down the neck and behind the ears."""
    below = np.interp(z, *_JAW_EDGE) - y
    return smoothstep(below, -3, 11) * smoothstep(y, -140, -100) * smoothstep(z, -25, 8)


def _skin(at: Array, part: Array, person: Person) -> Array:
    x, y, z = at[:, X], at[:, Y], at[:, Z]
    a = np.abs(x)
    front = smoothstep(z, 5, 35)
    color = np.tile(np.asarray(person.skin), (len(at), 1))
    color *= 1 + 0.012 * _noise(x / 2.2, y / 2.4, z / 2.6)[:, None]
    rosy = front * (
        gauss((a - 38) / 15, (y + 4) / 14) + 0.7 * gauss(x / 12, y / 9)
        + 0.35 * gauss(x / 14, (y + 74) / 10)
    )  # fmt: skip
    color = _mix(color, np.asarray(person.skin) * (1.0, 0.80, 0.78), person.blush * rosy)
    # Baked soft shading, so that the face has relief under flat light.
    shade = front * (
        0.12 * gauss((a - 17) / 6.5, (y - 38) / 9) + 0.10 * gauss((a - 30) / 14, (y - 21) / 6)
        + 0.16 * gauss((a - 15.5) / 3.0, (y + 6) / 7) + 0.16 * gauss(x / 14, (y + 55.5) / 4.5)
        + 0.18 * gauss(x / 13, (y + 13.5) / 3.0) + 0.10 * gauss((a - 24) / 5, (y + 22) / 12)
        + 0.07 * gauss((a - 29.5) / 3.5, (y + 37.5) / 4)
    ) + 0.10 * smoothstep(y, -74, -112) + 0.22 * _under_jaw(y, z)  # fmt: skip
    color *= 1 - shade[:, None] * (0.8, 1.0, 1.05)
    ear = np.isin(part, (LEFT_EAR, RIGHT_EAR))
    dish = ear * gauss((y - 12) / 11, (z + 8) / 6.5)
    color = _mix(color, np.asarray(person.skin) * (0.72, 0.52, 0.48), 0.6 * dish)
    nostril = front * gauss((a - 6.6) / 2.5, (y + 8.8) / 1.9)
    color = _mix(color, (0.16, 0.07, 0.06), 0.92 * smoothstep(nostril, 0.25, 0.7))

    ring, upper = at[:, EYE_RING], at[:, EYE_UPPER]
    crease = gauss((ring - 0.6) / 0.06) * smoothstep(upper, 0.1, 0.6)
    color *= 1 - 0.30 * crease[:, None]
    lashes = np.where(upper > 0, smoothstep(ring, 0.91, 0.985), 0.6 * smoothstep(ring, 0.955, 1.0))
    lashes *= smoothstep(ring, 1.13, 1.03) * smoothstep(np.abs(upper), 0.0, 0.5)
    color = _mix(color, np.asarray(person.brows) * 0.75, 0.9 * lashes)
    rim = smoothstep(ring, 1.04, 1.13)
    color = _mix(color, (0.80, 0.50, 0.46), rim * 0.85)
    color = _mix(color, person.brows, 0.88 * _brow(at, person))

    ring, upper = at[:, MOUTH_RING], at[:, MOUTH_UPPER]
    lips = smoothstep(ring, 0.93, 1.07)
    tone = np.asarray(person.lips) * np.where(upper > 0, 0.90, 1.04)[:, None]
    tone = tone * (1 + 0.05 * np.sin(x * 3.1))[:, None]
    color = _mix(color, tone, lips * 0.92)
    color *= 1 - (0.62 * smoothstep(ring, 1.72, 2.0))[:, None]
    color = _mix(color, (0.36, 0.13, 0.12), smoothstep(ring, 2.0, 2.3))

    hair = hair_amount(at[:, :3]) + 1.6 * _noise(x / 1.7, y / 2.3, z / 1.9)
    cover = smoothstep(hair, -1.5, 3.0) * ~ear
    turn = np.arctan2(x, z + 13)
    strands = 1 + 0.20 * _noise(turn * 55, y / 30) + 0.12 * np.sin(turn * 31 + y / 40)
    return _mix(color, np.asarray(person.hair) * strands[:, None], cover)


def _eyeball(at: Array, part: Array, person: Person) -> Array:
    degrees, turn = eye_angles(at[:, :3], part)
    color = np.tile((0.93, 0.91, 0.89), (len(at), 1))
    color = _mix(color, (0.82, 0.60, 0.56), 0.45 * smoothstep(degrees, 40, 75))
    streaks = 1 + 0.16 * np.sin(turn * 23 + 2 * np.sin(turn * 7)) + 0.08 * np.sin(turn * 51)
    depth = smoothstep(degrees, PUPIL_DEGREES, IRIS_DEGREES)
    iris = np.asarray(person.iris) * (streaks * (1.15 - 0.45 * depth**2))[:, None]
    iris = _mix(iris, np.asarray(person.iris) * 0.35, smoothstep(degrees, 24.5, 27.0))
    color = _mix(color, iris, smoothstep(degrees, IRIS_DEGREES + 0.9, IRIS_DEGREES - 0.9))
    pupil = smoothstep(degrees, PUPIL_DEGREES + 0.8, PUPIL_DEGREES - 0.8)
    return _mix(color, (0.02, 0.02, 0.025), pupil)


def _teeth(at: Array, part: Array, person: Person) -> Array:
    del person  # Teeth are equal for all persons.
    u, y = at[:, U], at[:, Y]
    arc = (u - u.min(initial=0.9)) / 0.096 * 14
    gap = smoothstep(np.abs(arc - np.round(arc)), 0.09, 0.02)
    rise = 2.4 * np.cos(2 * np.pi * arc)
    upper = part == UPPER_TEETH
    gum = np.where(upper, smoothstep(y + rise * 0.4, -29.5, -27.5),
                   smoothstep(y - rise * 0.4, -44.5, -46.5))  # fmt: skip
    color = np.tile((0.93, 0.90, 0.83), (len(at), 1)) * (1 - 0.28 * gap)[:, None]
    color = _mix(color, (0.72, 0.36, 0.36), gum)
    back = smoothstep(at[:, Z], 64, 44)
    return color * (1 - 0.55 * back)[:, None]


def _cavity(at: Array, part: Array, person: Person) -> Array:
    del part, person  # Color depends on depth only: darker towards the throat.
    deep = smoothstep(at[:, Z], 78, 52)
    return np.array((0.36, 0.13, 0.12)) * (1 - 0.72 * deep)[:, None]


def _tongue(at: Array, part: Array, person: Person) -> Array:
    del part, person
    groove = 1 - 0.18 * gauss(at[:, X] / 1.5)
    shade = 1 - 0.5 * smoothstep(at[:, Z], 60, 34)
    return np.array((0.72, 0.36, 0.35)) * (groove * shade)[:, None]
