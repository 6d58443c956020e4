"""Closing of the lips in pauses of the speech."""

import numpy as np

from headsplat.speech.audio import RATE
from headsplat.speech.features import HOP, spoken
from headsplat.speech.mouth import JAW

EASE = 0.2  # seconds in which lips close and open
LEAD = 0.15  # seconds before the sound at which they are open again
STRENGTH = 0.8  # share of the resting lips in the blend
BREATH, BREATH_HERTZ = 0.006, 0.25  # radians by which the jaw sinks with each breath
LEAST_BREATH = 0.2  # share of it within speech, so that stops of the sound do not freeze the lips


def rest_in_pauses(
    values: np.ndarray, mels: np.ndarray, times: np.ndarray, rest: np.ndarray
) -> np.ndarray:
    """Mouth values that approach resting lips where the sound pauses for more than 0.3 s.

    Args:
        values: (n, K) mouth values.
        mels: (m, 40) log-mels of the sound.
        times: (n,) seconds.
        rest: (K,) the subject's lips at rest.
    """
    weight = STRENGTH * pausing(mels, times)[:, None]
    made = values * (1 - weight) + weight * rest
    breath = BREATH * (1 - np.cos(2 * np.pi * BREATH_HERTZ * times)) / 2
    made[:, -JAW] += np.maximum(weight[:, 0], LEAST_BREATH) * breath
    return made


def pausing(mels: np.ndarray, times: np.ndarray) -> np.ndarray:
    """(n,) in 0..1: how far the lips rest at each time."""
    speech = spoken(mels)
    rows = np.arange(len(speech))
    heard = np.flatnonzero(speech)
    if len(heard) == 0:
        return np.ones(len(times))
    # Rows to the nearest speech before and after.
    after = heard[np.searchsorted(heard, rows).clip(max=len(heard) - 1)]
    before = heard[(np.searchsorted(heard, rows, "right") - 1).clip(0)]
    since = np.where(before <= rows, rows - before, len(rows)) * HOP / RATE
    until = np.where(after >= rows, after - rows, len(rows)) * HOP / RATE
    share = (np.minimum(since, until - LEAD) / EASE).clip(0, 1)
    share = share * share * (3 - 2 * share)
    return np.interp(times, rows * HOP / RATE, share)
