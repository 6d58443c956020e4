"""Log-mel features of speech, and windows of them around video frames.

40 mel bands of 25 ms windows every 10 ms. From a minute of data, a subject's mouth is predicted
better by them than by longer windows or learned features.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from headsplat.speech.audio import RATE

BANDS, FFT = 40, 512
WINDOW, HOP = 400, 160  # samples: 25 and 10 ms
LOWEST, HIGHEST = 60.0, 7600.0  # Hz
# Offsets of a frame's window from the frame, in steps of 10 ms: -40 to +80 ms. It is centered
# after the frame, because lips move before their sound. Longer windows predict worse.
OFFSETS = np.arange(-4, 9, 2)
FLOOR = 1e-7  # of the power: 16-bit noise
LOUD = 95  # percentile of a band's power that counts as its loudest speech
RANGE = np.float32(7.0)  # natural logarithm of the power: 30 dB below that is the floor
_LEAST_STD = np.float32(0.1)
# Speech is this much louder than the recording's quietest, and this near to its loudest.
_LOUD_ABOVE, _LOUD_BELOW = 0.7, 6.0  # natural logarithm of the power
_SOFT = 0.35  # of the range between quiet and loud
LONGEST_STOP = 30  # rows: pauses up to 0.3 s lie within speech
_BLOCK = 4096  # windows that are transformed at once
LOOK_AHEAD = (OFFSETS[-1] * HOP + WINDOW // 2) / RATE  # seconds of sound that a frame needs


@cache
def _filters() -> np.ndarray:
    """(FFT // 2 + 1, BANDS) float32 triangles, equally wide on the mel scale."""
    low, high = (2595 * np.log10(1 + hertz / 700) for hertz in (LOWEST, HIGHEST))
    edges = 700 * (10 ** (np.linspace(low, high, BANDS + 2) / 2595) - 1)
    hertz = np.fft.rfftfreq(FFT, 1 / RATE)[:, None]
    rise = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    return np.minimum(rise, fall).clip(0).astype(np.float32)


def mels_of_windows(windows: np.ndarray) -> np.ndarray:
    """(n, WINDOW) samples -> (n, BANDS) float32: logarithm of the power in each band."""
    blocks = (windows[first : first + _BLOCK] for first in range(0, len(windows), _BLOCK))
    return np.concatenate([_mels_of_block(block) for block in blocks])


def _mels_of_block(windows: np.ndarray) -> np.ndarray:
    spectrum = np.fft.rfft(windows * np.hanning(WINDOW + 1)[:-1].astype(np.float32), FFT)
    power = spectrum.real**2 + spectrum.imag**2
    return np.log(power.astype(np.float32) @ _filters() / WINDOW + FLOOR)


def log_mels(samples: np.ndarray) -> np.ndarray:
    """Log-mel spectrum of a sound; row k is centered at k * 10 ms.

    Args:
        samples: (n,) float32 at 16 kHz.

    Returns:
        (1 + n // 160, 40) float32; the sound is padded with silence.
    """
    padded = np.pad(np.asarray(samples, np.float32), (WINDOW // 2, WINDOW))
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    return mels_of_windows(windows[: 1 + len(samples) // HOP])


def loudness(mels: np.ndarray) -> np.ndarray:
    """(..., BANDS) -> (...): mean of the bands, which is the loudness in natural logarithms."""
    return mels.mean(-1)


def at(rows: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Values of rows every 10 ms from time 0, (m,), at times (n,) in seconds: the nearest ones."""
    return rows[(times * RATE / HOP).round().astype(np.int64).clip(0, len(rows) - 1)]


def spoken(mels: np.ndarray) -> np.ndarray:
    """Which rows of a log-mel spectrum are speech, by loudness: (m, BANDS) -> (m,) bool.

    Sound of constant loudness is all speech, silence is none, and short stops within speech belong
    to it.
    """
    level = loudness(mels)
    quiet, loud = np.percentile(level, (5, LOUD))
    if loud < np.log(FLOOR) + _LOUD_ABOVE:
        return np.zeros(len(level), bool)
    if loud - quiet < _LOUD_ABOVE:
        return np.ones(len(level), bool)
    return fill_stops(level > max(quiet + _SOFT * (loud - quiet), loud - _LOUD_BELOW), LONGEST_STOP)


def fill_stops(speech: np.ndarray, longest: int) -> np.ndarray:
    """(m,) bool with the gaps of at most `longest` rows between True rows filled."""
    rows = np.flatnonzero(speech)
    filled = speech.copy()
    for before, after in zip(rows[:-1], rows[1:], strict=True):
        if 1 < after - before <= longest + 1:
            filled[before:after] = True
    return filled


@dataclass(frozen=True, eq=False)
class Normalization:
    """Level of each band of a recording; all (BANDS,) float32.

    Attributes:
        floor: quieter power counts as this, so that weak noise changes nothing.
        mean: after the floor.
        std: after the floor.
    """

    floor: np.ndarray
    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def of(cls, mels: np.ndarray) -> "Normalization":
        """Of a whole recording, (m, BANDS)."""
        floor = np.percentile(mels, LOUD, axis=0).astype(np.float32) - RANGE
        floored = np.logaddexp(mels, floor)
        return cls(floor, floored.mean(0), floored.std(0) + _LEAST_STD)

    def apply(self, mels: np.ndarray) -> np.ndarray:
        """(m, BANDS) -> (m, BANDS) of mean 0 and deviation 1 in the recording."""
        return (np.logaddexp(mels, self.floor) - self.mean) / self.std


def frame_windows(mels: np.ndarray, times: np.ndarray, offsets: np.ndarray = OFFSETS) -> np.ndarray:
    """Log-mels around each video frame, interpolated between rows.

    Args:
        mels: (m, BANDS) rows every 10 ms from time 0.
        times: (n,) seconds of the frames.
        offsets: (o,) from the frame, in rows.

    Returns:
        (n, o * BANDS) float32; the spectrum's ends are repeated beyond it.
    """
    place = (times * RATE / HOP)[:, None] + offsets
    place = place.clip(0, len(mels) - 1)
    low = place.astype(np.int64)
    high = np.minimum(low + 1, len(mels) - 1)
    share = (place - low)[..., None].astype(np.float32)
    windows = mels[low] * (1 - share) + mels[high] * share
    return windows.reshape(len(times), -1).astype(np.float32)
