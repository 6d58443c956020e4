"""One-Euro filter (Casiez, Roussel and Vogel, CHI 2012) of a performer's coefficients and angles.

A low-pass filter whose cutoff grows with speed: still values do not tremble, and fast ones do not
lag.
"""

import math
from dataclasses import replace

import numpy as np

from headsplat.live.frame import ANGLES, WEIGHTS, ArkitFrame

# Cutoff of the speed, Hz, and a pause in seconds after which the filter starts anew.
_SPEED_CUTOFF, _PAUSE = 1.0, 0.5
_LEAST_STEP = 1e-4  # seconds


class OneEuro:
    """Filters rows of numbers that come at any times.

    Args:
        cutoff: Hz of values that stand still; 0 does not filter at all.
        gain: Hz by which the cutoff grows for each unit a second.
    """

    def __init__(self, cutoff: float, gain: float) -> None:
        self._cutoff, self._gain = cutoff, gain
        self._value: np.ndarray | None = None
        self._speed: np.ndarray | None = None
        self._seconds = 0.0

    def next(self, values: np.ndarray, seconds: float) -> np.ndarray:
        """Filtered values (n,) at a time in seconds that does not decrease."""
        step = seconds - self._seconds
        if self._value is None or self._speed is None or step > _PAUSE or self._cutoff <= 0:
            self._value, self._speed = values, np.zeros_like(values)
            self._seconds = seconds
            return values
        step = max(step, _LEAST_STEP)
        speed = (values - self._value) / step
        self._speed = self._speed + _share(_SPEED_CUTOFF, step) * (speed - self._speed)
        share = _share(self._cutoff + self._gain * np.abs(self._speed), step)
        self._value = self._value + share * (values - self._value)
        self._seconds = seconds
        return self._value


class FrameFilter:
    """One-Euro filter of frames; values keep still while no face is seen.

    Args:
        cutoff: as `OneEuro` takes it.
        gain: of the coefficients; of angles in radians it is the same.
    """

    def __init__(self, cutoff: float, gain: float) -> None:
        self._filter = OneEuro(cutoff, gain)
        self._last = np.zeros(WEIGHTS + ANGLES)

    def next(self, frame: ArkitFrame, seconds: float) -> ArkitFrame:
        """The filtered frame; without a face it repeats the last values."""
        if frame.face:
            given = np.concatenate([frame.weights, frame.angles])
            self._last = self._filter.next(given, seconds)
        weights, angles = self._last[:WEIGHTS], self._last[WEIGHTS:]
        return replace(frame, weights=weights.clip(0, 1), angles=angles)


def _share(cutoff, step: float):
    """Weight of a new value: of an exponential filter with this cutoff in Hz."""
    rate = 2 * math.pi * cutoff * step
    return rate / (rate + 1)
