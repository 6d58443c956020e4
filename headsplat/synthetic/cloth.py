"""The pullover's texture: ribbed collar, knit, two bands across the chest."""

import numpy as np

from headsplat.synthetic.torso import Torso

YARN = np.array([46.0, 92.0, 104.0])
RIB = np.array([38.0, 74.0, 86.0])
BAND = np.array([196.0, 178.0, 140.0])


def paint_cloth(torso: Torso, size: int, seed: int = 9) -> np.ndarray:
    """(size, size, 3) uint8 sRGB; columns go around the body, the first row is the collar."""
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
