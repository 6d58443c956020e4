"""Formant synthesizer: audio from the timing of speech sounds.

Source-filter model: a band-limited glottal source and noise, filtered by the time-varying response
of the mouth in short overlapping windows. Uses numpy only and is deterministic.
"""

import numpy as np

from headsplat.synthetic.phones import PHONES, STOPS
from headsplat.synthetic.speech import Speech

SAMPLE_RATE = 48000
HOP = 240
WINDOW = 960
FFT = 2048
# The two upper formants are nearly constant.
UPPER_FORMANTS = (3500.0, 4300.0)
BANDWIDTHS = (70.0, 90.0, 130.0, 200.0, 280.0)
BASE_PITCH = 118.0
HARMONICS = 44


def synthesize(speech: Speech, seed: int = 5) -> np.ndarray:
    """Synthesize the audio of a speech.

    Returns:
        (n,) float32 in [-1, 1] at `SAMPLE_RATE`, n = round(speech.seconds * SAMPLE_RATE).
    """
    n = round(speech.seconds * SAMPLE_RATE)
    blocks = -(-n // HOP) + WINDOW // HOP
    times = (np.arange(blocks) + 0.5) * HOP / SAMPLE_RATE - WINDOW / 2 / SAMPLE_RATE
    formants, voice, hiss, hiss_hertz = _control_tracks(speech, times)
    generator = np.random.default_rng(seed)
    glottal = _glottal_sound(speech, (blocks - 1) * HOP + WINDOW, times, generator)
    noise = generator.standard_normal(glottal.size)

    hertz = np.fft.rfftfreq(FFT, 1 / SAMPLE_RATE)
    mouth = _mouth_response(hertz, formants) * voice[:, None]
    band = np.exp(-0.5 * ((hertz[None] - hiss_hertz[:, None]) / (0.3 * hiss_hertz[:, None])) ** 2)
    turbulence = band * hiss[:, None]
    sound = _filtered(glottal, mouth) + 0.55 * _filtered(noise, turbulence)
    # Samples of block b start at b * HOP; the first window is centered on time zero.
    sound = sound[WINDOW // 2 :][:n]
    peak = np.abs(sound).max()
    return (0.6 * sound / max(peak, 1e-9)).astype(np.float32)


def _smooth(values: np.ndarray, width: int) -> np.ndarray:
    """Moving Hann average along the first axis, ends repeated."""
    kernel = np.hanning(width + 2)[1:-1]
    kernel /= kernel.sum()
    half = width // 2
    padded = np.pad(values, [(half, half)] + [(0, 0)] * (values.ndim - 1), mode="edge")
    columns = padded.reshape(len(padded), -1).T
    smoothed = np.stack([np.convolve(column, kernel, "valid") for column in columns], -1)
    return smoothed.reshape(values.shape)


def _control_tracks(speech: Speech, times: np.ndarray) -> tuple[np.ndarray, ...]:
    """Formants (t, 3), voice (t,), hiss (t,) and its center (t,) at the block times."""
    phones = [PHONES[name] for name in speech.names]
    where = np.searchsorted(speech.starts[1:-1], times, side="right")
    formants = np.array([phone.formants for phone in phones])[where]
    voice = np.array([phone.voice for phone in phones])[where]
    hiss = np.array([phone.hiss for phone in phones])[where]
    center = np.array([phone.hiss_hertz for phone in phones])[where]
    formants = _smooth(formants, 13)
    voice, hiss = _smooth(voice, 7), _smooth(hiss, 5)
    for index, name in enumerate(speech.names):
        if name in STOPS:
            # A stop is released by a burst of some 15 ms.
            burst = np.exp(-0.5 * ((times - speech.starts[index + 1]) / 0.006) ** 2)
            hiss = hiss + 0.12 * burst
            center = np.where(burst > 0.05, STOPS[name], center)
    return formants, voice, hiss, center


def _glottal_sound(
    speech: Speech, samples: int, times: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Harmonics of a falling, accented pitch, each weaker than the one below it."""
    # Pitch falls over every phrase and rises on accents.
    silent = np.array([name == "-" for name in speech.names])
    begins = speech.starts[:-1][silent]
    phrase = np.searchsorted(begins, times, side="right") - 1
    since = times - begins[phrase.clip(0)]
    accent = np.exp(-0.5 * ((times[:, None] - speech.accents) / 0.07) ** 2).sum(1)
    pitch = BASE_PITCH * (1.12 - 0.14 * since.clip(0, 2) / 2) * (1 + 0.10 * accent)
    pitch = _smooth(pitch * (1 + 0.006 * generator.standard_normal(len(pitch))), 15)
    fine = np.interp(np.arange(samples), np.arange(len(pitch)) * HOP + WINDOW / 2, pitch)
    phase = np.cumsum(fine) * (2 * np.pi / SAMPLE_RATE)
    sound = np.zeros(samples)
    for harmonic in range(1, HARMONICS + 1):
        sound += np.cos(harmonic * phase) / harmonic
    return sound


def _mouth_response(hertz: np.ndarray, formants: np.ndarray) -> np.ndarray:
    """Complex response (t, f) of five resonators in cascade, each of gain one at 0 Hz."""
    response = np.ones((len(formants), len(hertz)), complex)
    upper = np.broadcast_to(UPPER_FORMANTS, (len(formants), 2))
    s = 2j * np.pi * hertz[None]
    for column, width in zip(np.hstack([formants, upper]).T, BANDWIDTHS, strict=True):
        decay, swing = np.pi * width, 2 * np.pi * column[:, None]
        square = swing**2 + decay**2
        response *= square / ((s + decay) ** 2 + swing**2)
    return response


def _filtered(source: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Overlap-add of the source's windows, block b multiplied by response[b]."""
    window = np.hanning(WINDOW + 1)[:-1]
    blocks = len(response)
    starts = np.arange(blocks) * HOP
    pieces = source[starts[:, None] + np.arange(WINDOW)] * window
    shaped = np.fft.irfft(np.fft.rfft(pieces, FFT, axis=1) * response, FFT, axis=1)
    # Windows overlap WINDOW / HOP times; blocks of equal phase do not overlap within FFT samples
    # when taken FFT / HOP apart, so adding whole hops at a time is vectorized.
    hops = -(-FFT // HOP)
    shaped = np.pad(shaped, ((0, 0), (0, hops * HOP - FFT))).reshape(blocks, hops, HOP)
    out = np.zeros((blocks + hops, HOP))
    for hop in range(hops):
        out[hop : hop + blocks] += shaped[:, hop]
    return out.reshape(-1) * (2 * HOP / WINDOW)
