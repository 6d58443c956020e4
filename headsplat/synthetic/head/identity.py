"""Identity modes: smooth displacement fields, one standard deviation per unit."""

from collections.abc import Callable

import numpy as np

from headsplat.synthetic.head.anatomy import Anatomy
from headsplat.synthetic.head.surface import EYE, SEAM_Y, gauss, smoothstep

Array = np.ndarray


def _modes() -> dict[str, Callable[[Array, Array, Array], tuple]]:
    """Name -> field of (x, y, z) in millimeters -> displacement (dx, dy, dz)."""

    def front(z: Array) -> Array:
        return smoothstep(z, -5, 40)

    def side(x: Array) -> Array:
        return np.tanh(x / 10)

    return {
        "size": lambda x, y, z: (0.03 * x, 0.03 * y, 0.03 * z),
        "width": lambda x, y, z: (0.035 * x, 0, 0),
        "length": lambda x, y, z: (0, 0, 0.035 * (z + 10)),
        "height": lambda x, y, z: (0, 0.03 * y, 0),
        "crown": lambda x, y, z: (0, 5 * smoothstep(y, 60, 140), 0),
        "face_width": lambda x, y, z: (0.05 * x * front(z) * smoothstep(y, 80, 40), 0, 0),
        "jaw_width": lambda x, y, z: (
            3.0 * side(x) * gauss((y + 62) / 32) * smoothstep(np.abs(x), 12, 46), 0, 0),
        "jaw_drop": lambda x, y, z: (
            0, -4.0 * gauss((y + 70) / 26) * smoothstep(np.abs(x), 20, 48), 0),
        "chin_height": lambda x, y, z: (0, -4.0 * gauss(x / 34, (y + 82) / 26) * front(z), 0),
        "chin_forward": lambda x, y, z: (0, 0, 4.0 * gauss(x / 26, (y + 76) / 20) * front(z)),
        "chin_width": lambda x, y, z: (
            3.0 * side(x) * gauss(x / 26, (y + 78) / 14) * front(z), 0, 0),
        "cheekbones": lambda x, y, z: (
            2.5 * side(x) * gauss((np.abs(x) - 52) / 18, (y - 10) / 18), 0,
            2.5 * gauss((np.abs(x) - 46) / 16, (y - 10) / 16) * front(z)),
        "cheek_fullness": lambda x, y, z: (
            2.2 * side(x) * gauss((np.abs(x) - 48) / 17, (y + 28) / 20), 0,
            2.0 * gauss((np.abs(x) - 42) / 16, (y + 26) / 20) * front(z)),
        "forehead_slope": lambda x, y, z: (0, 0, -4.0 * smoothstep(y, 52, 115) * front(z)),
        "temple_width": lambda x, y, z: (3.0 * side(x) * gauss((y - 70) / 26, (z - 20) / 45), 0, 0),
        "brow_ridge": lambda x, y, z: (0, 0, 2.0 * gauss(x / 42, (y - 53) / 9) * front(z)),
        "brow_height": lambda x, y, z: (0, 2.5 * gauss(x / 48, (y - 57) / 14) * front(z), 0),
        "eye_spacing": lambda x, y, z: (
            2.0 * side(x) * gauss((np.abs(x) - 32) / 18, (y - 34) / 20) * front(z), 0, 0),
        "eye_height": lambda x, y, z: (
            0, 2.0 * gauss((np.abs(x) - 32) / 22, (y - 34) / 20) * front(z), 0),
        "eye_depth": lambda x, y, z: (
            0, 0, 1.8 * gauss((np.abs(x) - 32) / 18, (y - 33) / 14) * front(z)),
        "nose_forward": lambda x, y, z: (0, 0, 3.0 * gauss(x / 13, (y + 2) / 13) * front(z)),
        "nose_width": lambda x, y, z: (
            2.0 * side(x) * gauss((np.abs(x) - 11) / 9, (y + 3) / 12) * front(z), 0, 0),
        "nose_length": lambda x, y, z: (0, -2.5 * gauss(x / 18, (y + 4) / 13) * front(z), 0),
        "nose_tip": lambda x, y, z: (0, 2.2 * gauss(x / 9, (y + 1) / 7) * front(z), 0),
        "nose_bridge": lambda x, y, z: (0, 0, 2.2 * gauss(x / 10, (y - 26) / 14) * front(z)),
        "nose_hump": lambda x, y, z: (0, 0, 1.8 * gauss(x / 8, (y - 14) / 8) * front(z)),
        "mouth_width": lambda x, y, z: (
            2.5 * side(x) * gauss((np.abs(x) - 22) / 15, (y - SEAM_Y) / 16) * front(z), 0, 0),
        "mouth_height": lambda x, y, z: (
            0, 2.2 * gauss(x / 34, (y - SEAM_Y) / 18) * front(z), 0),
        "mouth_forward": lambda x, y, z: (
            0, 0, 2.2 * gauss(x / 26, (y - SEAM_Y) / 17) * front(z)),
        "upper_lip": lambda x, y, z: (
            0, 1.4 * gauss(x / 18, (y + 29) / 6) * front(z),
            0.7 * gauss(x / 18, (y + 31) / 5) * front(z)),
        "lower_lip": lambda x, y, z: (
            0, -1.4 * gauss(x / 18, (y + 46) / 6) * front(z),
            0.7 * gauss(x / 18, (y + 43) / 5) * front(z)),
        "ears": lambda x, y, z: (
            4.0 * side(x) * smoothstep(np.abs(x), 70, 84) * gauss((y - 13) / 36), 0, 0),
        "neck_width": lambda x, y, z: (
            0.08 * x * smoothstep(y, -80, -115), 0, 0.06 * (z + 30) * smoothstep(y, -80, -115)),
    }  # fmt: skip


def identity_basis(anatomy: Anatomy) -> tuple[tuple[str, ...], Array]:
    """Names and (V, 3, S) millimeters per standard deviation.

    Eyeballs and lids move rigidly together, so that lids close for all identities.
    """
    names, fields = zip(*_modes().items(), strict=True)
    points = anatomy.points

    def displace(field: Callable, where: Array) -> Array:
        parts = field(*where.T)
        return np.stack([np.broadcast_to(p, len(where)) for p in parts], 1).astype(np.float64)

    basis = np.stack([displace(field, points) for field in fields], 2)
    for center in (EYE, EYE * (-1, 1, 1)):
        distance = np.linalg.norm(points - center, axis=1)
        hold = smoothstep(distance, 24, 16.5)[:, None, None]
        rigid = np.stack([displace(field, center[None]) for field in fields], 2)
        basis += hold * (rigid - basis)
    # Lip fields do not move the teeth; broad fields do.
    inner = smoothstep(anatomy.surface, 0, 1)[:, None, None]
    local = np.array([name.startswith(("mouth", "upper", "lower", "nose")) for name in names])
    basis = np.where(local, basis * inner, basis)
    return names, basis
