"""Expression shapes with ARKit's names (`_L`, `_R` are the subject's sides), weights 0..1.

Opening the jaw and turning the eyes are left to the joints, and blinking to the lid basis.
"""

import numpy as np

from headsplat.synthetic.head.anatomy import Anatomy, eyelids
from headsplat.synthetic.head.surface import SEAM_Y, gauss, smoothstep

Array = np.ndarray


def expression_basis(anatomy: Anatomy) -> tuple[tuple[str, ...], Array]:
    """Names and (V, 3, E) millimeters at full strength."""
    shapes = _both_sides(anatomy) | _middle(anatomy)
    names = tuple(sorted(shapes))
    return names, np.stack([shapes[name] for name in names], 2)


def _move(amount: Array, dx: float | Array, dy: float | Array, dz: float | Array) -> Array:
    return np.stack([amount * dx, amount * dy, amount * dz], 1)


def _both_sides(anatomy: Anatomy) -> dict[str, Array]:
    lids = eyelids(anatomy)
    upper_lid = smoothstep(anatomy.eye_upper, -0.25, 0.25)[:, None]
    lip = smoothstep(anatomy.mouth_ring, 0.55, 1.2) * anatomy.surface
    shapes = {}
    for column, (suffix, side) in enumerate((("_L", 1), ("_R", -1))):
        x, y, z = (anatomy.points * (side, 1, 1)).T
        skin = anatomy.surface * smoothstep(z, 0, 30)
        free = skin * (1 - anatomy.lid)
        half = smoothstep(x, -7, 7)
        upper, lower = skin * (1 - anatomy.lower), skin * anatomy.lower
        corner = skin * gauss((x - 27) / 15, (y - SEAM_Y) / 13)
        broad = skin * gauss((x - 29) / 20, (y - SEAM_Y) / 19)
        cheek = free * gauss((x - 39) / 13, (y - 4) / 13)
        sneer = free * gauss((x - 14) / 9, (y - 4) / 11)
        lid = lids[:, :, column]
        lift = upper * half * gauss((x - 12) / 12, (y + 27) / 10)
        shapes |= {
            f"mouthSmile{suffix}": _move(corner, side * 5.5, 6.5, -3.5)
            + _move(broad, side * 1.5, 1.0, -1.5) + _move(cheek, side * 0.5, 3.0, 1.8),
            f"mouthFrown{suffix}": _move(corner, side * 0.8, -6.0, -0.8),
            f"mouthDimple{suffix}": _move(corner, side * 3.5, 0.6, -3.5),
            f"mouthStretch{suffix}": _move(broad, side * 6.5, -2.5, -3.5),
            f"mouthPress{suffix}": _move(lip * half * (2 * anatomy.lower - 1), 0, 1.3, 0)
            + _move(lip * half, 0, 0, -1.6),
            f"mouthUpperUp{suffix}": _move(lift, 0, 4.5, 0.6),
            f"mouthLowerDown{suffix}": _move(
                lower * half * gauss((x - 12) / 12, (y + 46) / 11), 0, -5.0, -0.6),
            f"browDown{suffix}": _move(
                free * gauss((x - 22) / 18, (y - 56) / 11), side * -2.0, -5.0, 0.6),
            f"browOuterUp{suffix}": _move(
                free * gauss((x - 42) / 15, (y - 58) / 13), 0, 6.0, -0.8),
            f"eyeWide{suffix}": lid * upper_lid * -0.24,
            f"eyeSquint{suffix}": lid * (1 - upper_lid) * 1.9 + lid * upper_lid * 0.12
            + _move(free * gauss((x - 34) / 14, (y - 22) / 9), 0, 2.2, 0.8),
            f"cheekSquint{suffix}": _move(
                free * gauss((x - 38) / 14, (y - 13) / 11), 0, 4.5, 1.6),
            f"noseSneer{suffix}": _move(sneer, 0, 3.2, 0.8) + _move(lift, 0, 2.0, 0.3),
        }  # fmt: skip
    return shapes


def _middle(anatomy: Anatomy) -> dict[str, Array]:
    x, y, z = anatomy.points.T
    a, side = np.abs(x), np.tanh(x / 8)
    skin = anatomy.surface * smoothstep(z, 0, 30)
    free = skin * (1 - anatomy.lid)
    upper, lower = skin * (1 - anatomy.lower), skin * anatomy.lower
    lip = smoothstep(anatomy.mouth_ring, 0.55, 1.2) * anatomy.surface
    mouth = skin * gauss(x / 30, (y - SEAM_Y) / 17)
    inward = -0.40 * x
    apart = 1 - 2 * anatomy.lower
    puff = skin * gauss((a - 44) / 15, (y + 28) / 16)
    chin = lower * gauss(x / 22, (y + 60) / 22)
    return {
        "browInnerUp": _move(free * gauss(x / 22, (y - 58) / 13), 0, 6.0, 0.8),
        "cheekPuff": _move(puff, 7.0 * side, 0, 4.5),
        "mouthPucker": _move(mouth, inward, 0, 7.0),
        "mouthFunnel": _move(mouth, 0.6 * inward, 0, 6.0) + _move(lip * apart, 0, 3.6, 0.6),
        "mouthRollUpper": _move(lip * (1 - anatomy.lower), 0, -1.8, -3.2),
        "mouthRollLower": _move(lip * anatomy.lower, 0, 1.8, -3.2),
        "mouthShrugUpper": _move(upper * gauss(x / 20, (y + 28) / 10), 0, 2.6, 1.4),
        "mouthShrugLower": _move(chin, 0, 4.5, 1.8),
        "mouthLeft": _move(mouth, 7.0, 0, -1.5 * np.tanh(x / 20)),
        "mouthRight": _move(mouth, -7.0, 0, 1.5 * np.tanh(x / 20)),
        "jawLeft": _move(anatomy.jaw, 6.0, 0, 0),
        "jawRight": _move(anatomy.jaw, -6.0, 0, 0),
        "jawForward": _move(anatomy.jaw, 0, 0, 5.0),
    }
