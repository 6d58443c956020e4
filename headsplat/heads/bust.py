"""A generic bust under a head: neck base, shoulders and chest, as a mesh in the trunk's space.

No head model has shoulders. The bust gives what lies below the neck's rim a depth. It is the
surface on which the trunk's motion is measured, and the place where its Gaussians start.
"""

from dataclasses import dataclass

import numpy as np

from headsplat.heads.model import HeadModel

AROUND, RINGS = 64, 36
# Of an adult, in meters: depth below the neck's rim, half width, and half depth. Then how far back
# the middle lies, and how far the sides hang below it.
SECTIONS = np.array(
    [
        [0.000, 0.000, 0.000, 0.000, 0.000],
        [0.012, 0.092, 0.070, 0.004, 0.006],
        [0.030, 0.150, 0.086, 0.008, 0.018],
        [0.055, 0.192, 0.098, 0.012, 0.028],
        [0.090, 0.216, 0.108, 0.014, 0.032],
        [0.150, 0.230, 0.120, 0.014, 0.032],
        [0.240, 0.232, 0.130, 0.013, 0.032],
        [0.350, 0.228, 0.134, 0.011, 0.032],
    ]
)
# A neck's own growth of half width and half depth per meter of height, where it is wider already.
FLARE = 0.35
HIGHEST_WAVE = 0.05  # meters, of the rim's height around the neck
RIM_LEVELS = 0.10  # meters below the rim where sections are level


@dataclass(frozen=True)
class Bust:
    """A tube of `RINGS` rings with `AROUND` vertices each; vertex = ring * AROUND + column.

    Ring 0 is the neck's rim, the last ring the lower chest. Column 0 is the front (+z); columns run
    towards the subject's left (+x).

    Attributes:
        vertices: (M, 3) f32 meters, in the head's canonical frame with the neck at rest.
        faces: (F, 3) i32, counter-clockwise seen from outside.
    """

    vertices: np.ndarray
    faces: np.ndarray


def bust(model: HeadModel, neutral: np.ndarray) -> Bust:
    """The bust that fits a head's neck.

    Args:
        model: head model; only its region `boundary` is read.
        neutral: (V, 3) the shaped neutral head in meters.
    """
    middle, half, waves = _rim(np.asarray(neutral, np.float64)[model.regions["boundary"]])
    depth = SECTIONS[-1, 0] * np.linspace(0, 1, RINGS) ** 1.5
    wide, deep, back, hang = (np.interp(depth, SECTIONS[:, 0], c) for c in SECTIONS.T[1:])
    wide = _smooth(np.maximum(wide, half[0] + FLARE * depth))
    deep = _smooth(np.maximum(deep, half[1] + FLARE * depth * (deep < half[1] + 0.05)))
    angle = np.arange(AROUND) * (2 * np.pi / AROUND)
    sine, cosine = np.sin(angle), np.cos(angle)
    x = wide[:, None] * sine
    z = deep[:, None] * cosine
    level = np.clip(1 - depth / RIM_LEVELS, 0, 1)[:, None]
    y = level * (_waves(angle)[:, 1:] @ waves) - depth[:, None] - hang[:, None] * sine**2
    points = np.stack([x, y, z - back[:, None]], -1) + middle
    return Bust(points.reshape(-1, 3).astype(np.float32), _faces())


def _rim(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Middle (3,), half width and half depth (2,), and waves (4,) of the height of the neck's end.

    The end is lower in front and behind than at the sides, where it runs onto the shoulders.
    """
    low, high = points.min(0), points.max(0)
    middle, half = (low + high) / 2, (high - low)[[0, 2]] / 2
    across, along = ((points - middle)[:, [0, 2]] / np.maximum(half, 1e-6)).T
    angle = np.arctan2(across, along)
    height, *waves = np.linalg.lstsq(_waves(angle), points[:, 1], rcond=None)[0]
    middle[1] = height
    return middle, half, np.clip(waves, -HIGHEST_WAVE, HIGHEST_WAVE)


def _waves(angle: np.ndarray) -> np.ndarray:
    """(n, 5) constant, and the first two waves around the neck."""
    waves = [np.sin(angle), np.cos(angle), np.sin(2 * angle), np.cos(2 * angle)]
    return np.stack([np.ones_like(angle), *waves], 1)


def _smooth(profile: np.ndarray) -> np.ndarray:
    """A profile along the rings without kinks; its ends stay."""
    padded = np.pad(profile, 2, mode="reflect", reflect_type="odd")
    return np.convolve(padded, np.array([1, 2, 3, 2, 1]) / 9, mode="valid")


def _faces() -> np.ndarray:
    ring, column = np.mgrid[: RINGS - 1, :AROUND]
    upper, following = ring * AROUND + column, ring * AROUND + (column + 1) % AROUND
    lower, last = upper + AROUND, following + AROUND
    first = np.stack([upper, lower, following], -1)
    second = np.stack([following, lower, last], -1)
    return np.concatenate([first, second], 2).reshape(-1, 3).astype(np.int32)
