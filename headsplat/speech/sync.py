"""Lag between lips and sound of a clip, from how well the sound predicts the mouth's opening.

Loudness alone does not tell: on real speech it hardly follows the opening. A linear regression from
short windows of log-mels does, over a range of shifts of the sound.
"""

import numpy as np

from headsplat.speech.features import frame_windows
from headsplat.speech.regression import folds
from headsplat.speech.score import correlation

WINDOW = np.arange(-6, 7, 2)  # steps of 10 ms
SHIFTS = np.arange(-0.4, 0.401, 0.02)  # seconds
USUAL = 0.04  # seconds by which lips lead their sound
LATE, EARLY = 0.12, -0.04  # seconds; beyond these the clip is out of sync
_LEVEL = 0.85  # of the peak: the curve's middle at this height is the lag
_RIDGE = 100.0
_FRAMES = 3000  # of the clip's middle; two minutes tell enough
_CERTAIN = 0.3  # correlation at the peak below which the lag is unknown


def lip_lag(mels: np.ndarray, times: np.ndarray, opening: np.ndarray) -> float | None:
    """Seconds by which the sound follows the lips; 0.04 is usual.

    Args:
        mels: normalized log-mels of the clip's sound.
        times: (n,) seconds of the frames.
        opening: (n,) of the mouth.

    Returns:
        The lag; None where the sound tells nothing about the opening, or nothing moves.
    """
    middle = slice(max(0, (len(times) - _FRAMES) // 2), (len(times) + _FRAMES) // 2)
    times, opening = times[middle], opening[middle]
    curve = np.array([_held_out(mels, times + shift, opening) for shift in SHIFTS])
    peak = int(curve.argmax())
    if curve[peak] < _CERTAIN:
        return None
    # The curve is flat at its top, so its flanks are located.
    level = _LEVEL * curve[peak]
    return float(_crossing(curve, peak, -1, level) + _crossing(curve, peak, 1, level)) / 2


def correction(lag: float | None) -> float:
    """Seconds to add to the times at which a clip's sound is read, 0 for a clip in sync."""
    return 0.0 if lag is None or EARLY <= lag <= LATE else lag - USUAL


def _held_out(mels: np.ndarray, times: np.ndarray, opening: np.ndarray) -> float:
    """Correlation of the opening with its prediction from the other folds."""
    windows = frame_windows(mels, times, WINDOW).astype(np.float64)
    windows = np.column_stack([windows, np.ones(len(windows))])
    deviation = opening - opening.mean()
    square, product = windows.T @ windows, windows.T @ deviation
    square[np.diag_indices_from(square)] += _RIDGE
    made = np.empty(len(opening))
    for fold, gaps in folds(len(opening)):
        part = windows[gaps]
        weights = np.linalg.solve(square - part.T @ part, product - part.T @ deviation[gaps])
        made[fold] = windows[fold] @ weights
    return correlation(made, deviation)


def _crossing(curve: np.ndarray, peak: int, step: int, level: float) -> float:
    """Shift at which the curve falls below a level, interpolated."""
    row = peak
    while 0 <= row + step < len(curve) and curve[row + step] >= level:
        row += step
    after = min(max(row + step, 0), len(curve) - 1)
    if after == row:
        return SHIFTS[row]
    share = (curve[row] - level) / (curve[row] - curve[after])
    return SHIFTS[row] + share * (SHIFTS[after] - SHIFTS[row])
