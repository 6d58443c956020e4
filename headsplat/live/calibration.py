"""The performer's neutral face, and the unit and signs of the angles that their app sends.

One second of a relaxed face that looks at the phone is the neutral. Coefficients are measured
from it, w' = (w - n) / (1 - n), and head turns are relative to it. Then, where the unit is
unsettled, the performer lays the left ear towards the left shoulder. That turn is 25 to 60 degrees,
and to the left. So its size tells the unit, and its sign whether the app's axes are a mirror image.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from headsplat.live.frame import ANGLES, WEIGHTS, ArkitFrame
from headsplat.live.protocols import AUTO, DEGREES, HALF_TURNS, RADIANS

SECONDS, TILT_SECONDS = 1.0, 3.0
_FEWEST = 5  # frames of a neutral face
# Highest neutral coefficient that is removed; a held expression is not a neutral face.
_HIGHEST = 0.6
FACTORS = {RADIANS: 1.0, DEGREES: math.pi / 180, HALF_TURNS: math.pi}
# The turn of an ear towards the shoulder, radians.
LEAST_TILT, MOST_TILT = math.radians(25), math.radians(60)
ASK_NEUTRAL = "look at the phone, face relaxed, mouth closed"
ASK_TILT = "lay your LEFT ear towards your left shoulder and hold it"


class Calibration:
    """Measures frames from the performer's neutral face; angles become radians.

    Args:
        unit: of the angles, of `UNITS`; with `AUTO` they count as radians until a tilt was seen, or
            until one is beyond what radians can be.
        flip: whether yaw and roll have the other sign; None finds it by the tilt.
        neutral: whether to take a neutral face from the first second.
        say: tells the performer what to do.

    Attributes:
        unit: in use.
        flip: in use.
        again: how to take the neutral face again, said when it was taken.
    """

    def __init__(
        self,
        unit: str,
        flip: bool | None,
        neutral: bool = True,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._asked_unit, self._asked_flip, self._say = unit, flip, say
        self.unit = RADIANS if unit == AUTO else unit
        self.flip, self.again = bool(flip), ""
        self._weights, self._angles = np.zeros(WEIGHTS), np.zeros(ANGLES)
        self._frames: list[ArkitFrame] = []
        self._raw, self._peak = np.zeros(ANGLES), 0.0
        self._begin: float | None = None
        self._step = self._neutral if neutral else self._done
        self._unsettled = unit == AUTO or flip is None
        self._told = False

    def restart(self) -> None:
        """Take the neutral face again, from the next frame on."""
        self._step, self._begin, self._frames = self._neutral, None, []
        self._told = False

    def next(self, frame: ArkitFrame, seconds: float) -> ArkitFrame:
        """The frame from the neutral, angles in radians.

        Args:
            frame: as it was received.
            seconds: when, not decreasing.
        """
        if frame.face:
            # Once a tilt has told the unit, a single wrong angle must not change it.
            unknown = self._asked_unit == AUTO and self._unsettled
            if unknown and np.abs(frame.angles[:3]).max() > math.pi:
                self.unit = DEGREES
            self._step(frame, seconds)
        weights = np.maximum(frame.weights - self._weights, 0) / (1 - self._weights)
        angles = self._radians(frame.angles)
        return replace(frame, weights=weights, angles=_relative(angles, self._angles))

    def _radians(self, angles: np.ndarray) -> np.ndarray:
        signs = np.array([-1.0, 1.0, -1.0] * 3) if self.flip else 1.0
        return angles * signs * FACTORS[self.unit]

    def _neutral(self, frame: ArkitFrame, seconds: float) -> None:
        """Collect a second of frames."""
        if self._begin is None:
            self._begin = seconds
        if not self._told:
            self._told = True
            self._say(ASK_NEUTRAL)
        if seconds - self._begin < SECONDS or len(self._frames) < _FEWEST:
            # At most the packets of a second at the highest rate; more would be a sender's mistake.
            if len(self._frames) < 10_000:
                self._frames.append(frame)
            return
        weights = np.median([seen.weights for seen in self._frames], 0)
        self._weights = weights.clip(0, _HIGHEST)
        self._raw = np.median([seen.angles for seen in self._frames], 0)
        self._angles = self._radians(self._raw)
        self._frames, self._begin, self._peak = [], None, 0.0
        self._step = self._tilt if self._unsettled else self._done
        self._say(ASK_TILT if self._unsettled else f"calibrated{self.again}")

    def _tilt(self, frame: ArkitFrame, seconds: float) -> None:
        """Watch the roll for some seconds, and take unit and sign from its peak."""
        if self._begin is None:
            self._begin = seconds
        roll = float(frame.angles[2] - self._raw[2])
        self._peak = roll if abs(roll) > abs(self._peak) else self._peak
        if seconds - self._begin < TILT_SECONDS:
            return
        self._begin = None
        unit = self.unit if self._asked_unit != AUTO else unit_of_tilt(abs(self._peak))
        if unit is None or abs(self._peak) * FACTORS[unit] < LEAST_TILT:
            self._say(f"no such turn was seen; {ASK_TILT}")
            self._peak = 0.0
            return
        self.unit = unit
        if self._asked_flip is None:
            # Roll is positive towards the right shoulder.
            self.flip = self._peak > 0
        self._angles = self._radians(self._raw)
        self._step = self._done
        self._unsettled = False
        how = "with yaw and roll reversed" if self.flip else "as sent"
        self._say(f"calibrated: angles are in {unit}, {how}{self.again}")

    def _done(self, frame: ArkitFrame, seconds: float) -> None:
        """Nothing is left to measure."""


def unit_of_tilt(size: float) -> str | None:
    """The unit in which a turn of this size is an ear towards the shoulder; None if it is in none.

    Between two units the geometric middle of their ranges decides.
    """
    if size < LEAST_TILT / FACTORS[HALF_TURNS]:
        return None
    bounds = [
        math.sqrt(MOST_TILT / FACTORS[small] * LEAST_TILT / FACTORS[large])
        for small, large in ((HALF_TURNS, RADIANS), (RADIANS, DEGREES))
    ]
    return (HALF_TURNS, RADIANS, DEGREES)[sum(size > bound for bound in bounds)]


def _relative(angles: np.ndarray, neutral: np.ndarray) -> np.ndarray:
    """(9,) angles of the turns N^T R of head and eyes, of R = R_y R_x R_z."""
    parts = []
    for first in range(0, ANGLES, 3):
        turn = matrix_of_angles(neutral[first : first + 3]).T @ matrix_of_angles(
            angles[first : first + 3]
        )
        pitch = -math.asin(min(1.0, max(-1.0, turn[1, 2])))
        parts += [math.atan2(turn[0, 2], turn[2, 2]), pitch, math.atan2(turn[1, 0], turn[1, 1])]
    return np.array(parts)


def matrix_of_angles(angles: np.ndarray) -> np.ndarray:
    """(3, 3) R_y R_x R_z of yaw, pitch and roll in radians."""
    (a, b, c), (p, q, r) = np.cos(angles), np.sin(angles)
    return np.array(
        [
            [a * c + p * q * r, p * q * c - a * r, p * b],
            [b * r, b * c, -q],
            [a * q * r - p * c, p * r + a * q * c, a * b],
        ]
    )
