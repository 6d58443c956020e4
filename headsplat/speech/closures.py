"""Lip closures at p, b and m, blended into mouth values."""

import numpy as np

LEAD = 0.03  # seconds by which the lips close before the sound
EASE = 0.04  # seconds beside a phone in which the lips close and open
STRENGTH = 0.5  # share of the closed lips in the blend


def close_lips(
    values: np.ndarray, times: np.ndarray, spans: np.ndarray, closed: np.ndarray
) -> np.ndarray:
    """Mouth values with lips closed at given phones.

    Args:
        values: (n, K) mouth values.
        times: (n,) seconds.
        spans: (p, 2) seconds, begin and end of each phone in the sound; lips close earlier.
        closed: (K,) the subject's closed lips.
    """
    weight = STRENGTH * closing(times, spans)[:, None]
    return values * (1 - weight) + weight * closed


def closing(times: np.ndarray, spans: np.ndarray) -> np.ndarray:
    """(n,) in 0..1: how much the lips are closing, with smooth flanks."""
    weight = np.zeros(len(times))
    for begin, end in spans - LEAD:
        first, last = np.searchsorted(times, (begin - EASE, end + EASE))
        near = times[first:last]
        outside = np.maximum(begin - near, near - end).clip(0)
        rise = (1 - outside / EASE).clip(0, 1)
        weight[first:last] = np.maximum(weight[first:last], rise * rise * (3 - 2 * rise))
    return weight
