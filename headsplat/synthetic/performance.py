"""Motion of the built-in subject per frame: speech, blinks, gaze, brows and head turns.

The motion is independent of a head model; `headsplat.synthetic.parameters` applies it to one. The
two halves of a long clip are similar but not equal, so that held-out frames resemble training
frames.
"""

from dataclasses import dataclass

import numpy as np

from headsplat.synthetic.speech import Speech, lip_tracks

# Period of the head turns, seconds. Shorter clips turn faster, up to a natural speed.
CYCLE_SECONDS = 6.0
SHORTEST_CYCLE = 2.5
FINE_RATE = 400.0
# Head pose keys of one cycle: phase, then yaw, pitch, roll in degrees. Head pose is x subject's
# left, so a positive yaw turns to the subject's left; a positive pitch looks down.
HEAD_KEYS = np.array(
    [
        [0.00, 0.0, 0.0, 0.0],
        [0.10, 7.0, 3.0, 2.0],
        [0.24, 25.0, -3.0, -4.0],
        [0.33, 22.0, 4.0, -6.5],
        [0.46, 3.0, 9.0, -1.0],
        [0.57, -9.0, -9.0, 6.5],
        [0.71, -25.0, 1.0, 4.0],
        [0.80, -21.0, -5.0, 0.0],
        [0.92, -4.0, -1.0, -2.0],
    ]
)
BLINK_CLOSE, BLINK_HOLD, BLINK_OPEN = 0.085, 0.075, 0.150
BLINK_PAUSES = (2.85, 2.05, 2.90, 2.10)
# Gaze targets, in degrees relative to the camera: yaw to the subject's left, pitch down.
GAZE_POINTS = ((0, 0), (11, 2), (0, 1), (-12, -3), (2, 5), (-6, 7), (0, 0), (13, -5), (-3, -1))
GAZE_PAUSES = (0.85, 0.55, 0.95, 0.6, 0.7)
SACCADE_SECONDS = 0.05
EYE_LIMIT = np.deg2rad(22.0)


@dataclass(frozen=True)
class Performance:
    """Motion channels sampled at times k / fps.

    Attributes:
        times: (N,) seconds.
        lips: (N, 7) in 0..1, columns as in `phones.LIP_CHANNELS`.
        blink: (N, 2) in 0..1, left and right lid.
        gaze: (N, 2) radians, eyes in the head: yaw to the subject's left, pitch down.
        brows: (N, 2) in 0..1: raised, drawn together.
        smile: (N,) in 0..1.
        angles: (N, 3) radians: yaw to the subject's left, pitch down, roll to the subject's right
            shoulder.
        shift: (N, 3) meters, displacement of the neck's base, head axes.
    """

    times: np.ndarray
    lips: np.ndarray
    blink: np.ndarray
    gaze: np.ndarray
    brows: np.ndarray
    smile: np.ndarray
    angles: np.ndarray
    shift: np.ndarray


def perform(speech: Speech, fps: float, seed: int = 11) -> Performance:
    """Motion that goes with a speech.

    Args:
        speech: timing of the speech.
        fps: frames per second.
        seed: random seed; equal seeds give equal performances.
    """
    generator = np.random.default_rng(seed)
    count = round(speech.seconds * fps)
    times = np.arange(count) / fps
    fine = np.arange(int(speech.seconds * FINE_RATE) + 2) / FINE_RATE
    angles = _head_angles(fine, speech, generator)
    wander = _wander(fine, (0.37, 0.61, 0.23), generator)
    shift = wander * (0.008, 0.005, 0.010)
    # Turns also shift the neck's base slightly in the same direction.
    shift[:, 0] += 0.02 * np.sin(angles[:, 0])
    accents = np.exp(-0.5 * ((fine[:, None] - speech.accents - 0.03) / 0.10) ** 2)
    weights = generator.uniform(0.2, 1.0, len(speech.accents))
    raised = 0.12 + 0.10 * _wander(fine, (0.21,), generator)[:, 0] + 0.65 * accents @ weights
    drawn = 0.5 * _bumps(fine, speech.seconds, 0.62, 0.35) + 0.05
    smile = 0.08 + 0.5 * _bumps(fine, speech.seconds, 0.97, 0.4)
    gaze = _gaze(fine, angles, generator)

    def sampled(track: np.ndarray) -> np.ndarray:
        columns = track.reshape(len(track), -1).T
        picked = np.stack([np.interp(times, fine, column) for column in columns], -1)
        return picked.reshape(count, *track.shape[1:])

    return Performance(
        times=times,
        lips=lip_tracks(speech, times),
        blink=_blinks(times, speech.seconds),
        gaze=sampled(gaze),
        brows=sampled(np.stack([raised, drawn], 1)).clip(0.0, 1.0),
        smile=sampled(smile).clip(0.0, 1.0),
        angles=sampled(angles),
        shift=sampled(shift),
    )


def _cycle(seconds: float) -> float:
    return min(max(seconds, SHORTEST_CYCLE), CYCLE_SECONDS)


def _ease(x: np.ndarray) -> np.ndarray:
    """Minimum-jerk step from 0 to 1 (Flash and Hogan 1985)."""
    x = x.clip(0.0, 1.0)
    return x**3 * (10 - 15 * x + 6 * x**2)


def _wander(times: np.ndarray, hertz: tuple[float, ...], generator: np.random.Generator):
    """(t, len(hertz)) smooth drift in about -1..1: two sines of unrelated periods a column."""
    phase = generator.uniform(0, 2 * np.pi, (2, len(hertz)))
    rate = 2 * np.pi * np.array(hertz)
    slow = np.sin(times[:, None] * rate + phase[0])
    return 0.6 * slow + 0.4 * np.sin(times[:, None] * rate * 1.73 + phase[1])


def _bumps(times: np.ndarray, seconds: float, part: float, width: float) -> np.ndarray:
    """(t,) one smooth bump per cycle, at `part` of it, `width` seconds wide."""
    cycle = _cycle(seconds)
    offset = (times - part * cycle + cycle / 2) % cycle - cycle / 2
    return np.exp(-0.5 * (offset / width) ** 2)


def _head_angles(times: np.ndarray, speech: Speech, generator: np.random.Generator) -> np.ndarray:
    """(t, 3) radians: turns from key to key, a drift, and a nod on every accent."""
    cycle = _cycle(speech.seconds)
    cycles = int(np.ceil(speech.seconds / cycle)) + 1
    key_times = np.concatenate([(HEAD_KEYS[:, 0] + k) * cycle for k in range(cycles)])
    keys = np.concatenate([HEAD_KEYS[:, 1:]] * cycles)
    # Extreme keys are fixed; the others vary from cycle to cycle.
    loose = np.abs(keys) < 20
    keys = keys + loose * generator.uniform(-1, 1, keys.shape) * (1.5, 0.8, 0.8)
    right = np.searchsorted(key_times, times, side="right").clip(1, len(keys) - 1)
    span = key_times[right] - key_times[right - 1]
    # Motion fills most of the time between keys, because people rarely hold still.
    step = _ease((times - key_times[right - 1]) / span)[:, None]
    angles = keys[right - 1] * (1 - step) + keys[right] * step
    angles += _wander(times, (0.43, 0.57, 0.33), generator) * (0.8, 0.5, 0.8)
    accents = np.exp(-0.5 * ((times[:, None] - speech.accents) / 0.12) ** 2).sum(1)
    angles[:, 1] += 1.2 * accents
    return np.deg2rad(angles)


def _blinks(times: np.ndarray, seconds: float) -> np.ndarray:
    """(N, 2) lid closure; seven or eight frames a blink at 25 fps, the right lid a little late."""
    starts, at, pause = [], 0.55, 0
    while at < max(seconds - 0.4, 0.6):
        starts.append(at)
        at += BLINK_PAUSES[pause % len(BLINK_PAUSES)]
        pause += 1
    closure = np.zeros((len(times), 2))
    for side, lag in enumerate((0.0, 0.008)):
        since = times[:, None] - np.array(starts) - lag
        closing = _ease(since / BLINK_CLOSE)
        opening = _ease((since - BLINK_CLOSE - BLINK_HOLD) / BLINK_OPEN)
        closure[:, side] = (closing - opening).max(1, initial=0.0)
    return closure


def _gaze(times: np.ndarray, angles: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """(t, 2) radians in the head: jumps between points, half of each head turn compensated."""
    cycles = int(times[-1] / min(GAZE_PAUSES)) + 1
    order = np.arange(cycles)
    pauses = np.array(GAZE_PAUSES)[order % len(GAZE_PAUSES)] * generator.uniform(0.85, 1.15, cycles)
    points = np.deg2rad(np.array(GAZE_POINTS, float))[order % len(GAZE_POINTS)]
    jumps = np.cumsum(pauses)
    steps = _ease((times[:, None] - jumps[:-1]) / SACCADE_SECONDS)
    gaze = points[0] + steps @ np.diff(points, axis=0)
    return (gaze - 0.5 * angles[:, :2]).clip(-EYE_LIMIT, EYE_LIMIT)
