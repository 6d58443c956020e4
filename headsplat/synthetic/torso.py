"""Shoulders in a pullover: a tube of rings below a head's neck, and its texture."""

from dataclasses import dataclass

import numpy as np

AROUND = 96
RINGS = 56
# Height above the neck's end, then half width, half depth and how far back the center lies, all in
# meters. The first two columns of radii are added to the neck's own radius in the collar rows.
COLLAR = np.array(
    [
        [0.026, 0.004, 0.004, 0.000],
        [0.031, 0.007, 0.007, 0.000],
        [0.029, 0.011, 0.011, 0.000],
        [0.010, 0.015, 0.015, 0.000],
        [-0.002, 0.020, 0.020, 0.001],
    ]
)
BODY = np.array(
    [
        [-0.012, 0.105, 0.078, 0.006],
        [-0.030, 0.140, 0.088, 0.010],
        [-0.055, 0.175, 0.098, 0.013],
        [-0.090, 0.205, 0.108, 0.014],
        [-0.150, 0.225, 0.120, 0.014],
        [-0.260, 0.228, 0.130, 0.012],
        [-0.420, 0.220, 0.132, 0.010],
    ]
)
# sRGB of the pullover.
YARN = np.array([46.0, 92.0, 104.0])
RIB = np.array([38.0, 74.0, 86.0])
BAND = np.array([196.0, 178.0, 140.0])


@dataclass(frozen=True)
class Torso:
    """A mesh in head axes at rest.

    Attributes:
        vertices: (V, 3) meters.
        faces: (F, 3), counter-clockwise seen from outside.
        uv: (V, 2): once around, and down from the collar.
        collar: (V,) 1 on the collar, 0 below it.
    """

    vertices: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    collar: np.ndarray


def build_torso(center: np.ndarray, radius: tuple[float, float]) -> Torso:
    """Shoulders under a neck.

    Args:
        center: (3,) middle of the neck's lower end, meters.
        radius: its half width and half depth, meters.
    """
    collar = COLLAR + [0, radius[0], radius[1], 0]
    # Shoulders are at least as wide as the collar.
    body = BODY.copy()
    body[:, 1:3] = np.maximum(body[:, 1:3], collar[-1, 1:3] + 0.002)
    rows = np.concatenate([collar, body])
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(rows, axis=0), axis=1))])
    dense = np.linspace(0, along[-1], RINGS)
    # More rings where the collar bends.
    dense = along[-1] * (dense / along[-1]) ** 1.6
    rings = np.stack([np.interp(dense, along, column) for column in rows.T], 1)
    rings[2:-2] = (rings[:-4] + 2 * rings[1:-3] + 3 * rings[2:-2] + 2 * rings[3:-1] + rings[4:]) / 9
    angle = np.arange(AROUND + 1) * (2 * np.pi / AROUND)
    # A squarish section low down, a round one at the collar.
    squareness = np.interp(rings[:, 0], [-0.15, 0.0], [0.75, 1.0])[:, None]
    sine, cosine = np.sin(angle)[None], np.cos(angle)[None]
    x = np.sign(sine) * np.abs(sine) ** squareness * rings[:, 1:2]
    z = np.sign(cosine) * np.abs(cosine) ** squareness * rings[:, 2:3] - rings[:, 3:4]
    y = np.broadcast_to(rings[:, :1], x.shape).copy()
    # Shoulders slope: the sides of the upper rings hang lower than the middle.
    below = np.clip(-rings[:, :1] / 0.06, 0, 1)
    y -= 0.03 * below * np.abs(sine) ** 2
    vertices = np.stack([x, y, z], -1).reshape(-1, 3) + center
    row = np.arange(RINGS - 1)[:, None] * (AROUND + 1)
    first = (row + np.arange(AROUND)).reshape(-1)
    lower = first + AROUND + 1
    faces = np.concatenate(
        [np.stack([first, lower, first + 1], 1), np.stack([first + 1, lower, lower + 1], 1)]
    )
    u = np.broadcast_to(angle / (2 * np.pi), x.shape)
    v = np.broadcast_to(1 - (dense / along[-1])[:, None], x.shape)
    is_collar = np.broadcast_to((dense < along[len(collar) - 1])[:, None], x.shape)
    return Torso(
        vertices.astype(np.float32),
        faces.astype(np.int32),
        np.stack([u, v], -1).reshape(-1, 2).astype(np.float32),
        is_collar.reshape(-1).astype(np.float32),
    )


def paint_cloth(torso: Torso, size: int, seed: int = 9) -> np.ndarray:
    """The pullover's texture: ribbed collar, knit, two bands across the chest.

    (size, size, 3) uint8 sRGB; columns go around the body, the first row is the collar.
    """
    generator = np.random.default_rng(seed)
    down, around = (np.mgrid[:size, :size] + 0.5) / size
    end_of_collar = 1 - torso.uv[torso.collar > 0, 1].min()
    knit = 0.05 * np.cos(around * 2 * np.pi * 150) * np.cos(down * 2 * np.pi * 60)
    grain = 0.05 * generator.standard_normal((size, size))
    cloth = YARN * (1 + knit + grain)[..., None]
    for center in (end_of_collar + 0.20, end_of_collar + 0.27):
        band = (np.abs(down - center) < 0.022)[..., None]
        cloth = np.where(band, BAND * (1 + knit + grain)[..., None], cloth)
    ribs = RIB * (1 + 0.22 * np.cos(around * 2 * np.pi * 70) + grain)[..., None]
    cloth = np.where((down < end_of_collar)[..., None], ribs, cloth)
    return cloth.clip(0, 255).astype(np.uint8)
