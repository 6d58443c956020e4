"""Synthetic motion of head, gaze and lids for subjects whose clip is too short to play from.

Lids blink 20 times a minute. Saccades of a few degrees take 2.2 ms a degree and 21 ms more. The
head drifts slowly and nods a little at loud syllables, and the eyes compensate for its turns.
"""

import hashlib

import numpy as np
import torch

from headsplat.drive.blinks import CLOSE, HOLD, OPEN
from headsplat.drive.subject import DrivenSubject
from headsplat.frame_code import FrameCode
from headsplat.rotations import matrix_from_axis_angle, matrix_to_6d
from headsplat.speech.texture import Texture

BLINK_PAUSE, BLINK_SPREAD = 3.0, 0.5  # seconds between blinks: median, and deviation of its log
SACCADE_PAUSE = (0.5, 2.0)  # seconds
GAZE = np.deg2rad((2.0, 1.2))  # deviation of the gaze: yaw, pitch
DRIFT = np.deg2rad((1.2, 2.0, 0.8))  # about x, y and z
DRIFT_HERTZ = (0.11, 0.19, 0.31)
NOD = np.deg2rad(1.5)  # at loud syllables
NOD_SECONDS = 0.25
_SIDES = 2


def seed_of(samples: np.ndarray) -> int:
    """A seed from a sound, so that equal sounds give equal motions."""
    digest = hashlib.sha256(np.ascontiguousarray(samples).tobytes()).digest()
    return int.from_bytes(digest[:8], "little")


def idle_motion(
    subject: DrivenSubject, times: np.ndarray, loud: np.ndarray, seed: int, with_blinks: bool
) -> Texture:
    """Motion of everything but the mouth.

    Args:
        subject: the driven subject.
        times: (n,) seconds.
        loud: (n,) loudness of mean 0 and deviation 1.
        seed: of random numbers.
        with_blinks: close the lids now and then.
    """
    generator = np.random.default_rng(seed)
    neutral = FrameCode.neutral(subject.head).vector.double()
    turn = _drift(times, generator)
    nods = np.convolve(loud.clip(0.8, 2) - 0.8, _bump(times), "same")
    turn[:, 0] += NOD * nods
    gaze = _gaze(times, generator) - turn[:, :2]
    eye = np.column_stack([gaze, np.zeros(len(times))])
    six = matrix_to_6d(matrix_from_axis_angle(torch.from_numpy(eye)))
    lids = _blinks(times, generator) if with_blinks else np.zeros(len(times))
    code = FrameCode(neutral.expand(len(times), -1).clone()).replace(
        eyes=six.repeat(1, _SIDES), eyelids=torch.from_numpy(lids)[:, None].expand(-1, _SIDES)
    )
    turns = matrix_from_axis_angle(torch.from_numpy(turn))
    pivot = subject.neck()
    poses = subject.limits.poses_from_turns(turns, pivot, "absolute")
    return Texture(code.vector, *poses)


def _drift(times: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """(n, 3) axis-angle of slow head motion."""
    phase = generator.uniform(0, 2 * np.pi, (len(DRIFT_HERTZ), 3))
    waves = np.sin(2 * np.pi * np.multiply.outer(times, DRIFT_HERTZ)[..., None] + phase)
    return waves.mean(1) * DRIFT * np.sqrt(2)


def _bump(times: np.ndarray) -> np.ndarray:
    """A smooth kernel of unit sum that lasts as long as a nod."""
    step = times[1] - times[0] if len(times) > 1 else 1.0
    half = max(1, round(NOD_SECONDS / step))
    # An odd kernel, at most as long as the motion, keeps `same` of the motion's length.
    kernel = np.hanning(2 * half + 3)[1:-1][: max(1, len(times) - 1 | 1)]
    return kernel[: len(times)] / kernel.sum()


def _gaze(times: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """(n, 2) radians, pitch down and yaw to the subject's left: jumps between points."""
    count = int(times[-1] / SACCADE_PAUSE[0]) + 2
    starts = np.cumsum(generator.uniform(*SACCADE_PAUSE, count))
    points = generator.standard_normal((count + 1, 2)) * GAZE[::-1]
    jumped = np.searchsorted(starts, times, "right")
    before, after = points[(jumped - 1).clip(0)], points[jumped.clip(0, count)]
    degrees = np.rad2deg(np.linalg.norm(after - before, axis=1))
    since = times - starts[(jumped - 1).clip(0, count - 1)]
    share = (since / (0.0022 * degrees + 0.021)).clip(0, 1)[:, None]
    return before + share * share * (3 - 2 * share) * (after - before)


def _blinks(times: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """(n,) lid closure; pauses between blinks are log-normal."""
    count = int(times[-1] / 0.8) + 2
    pauses = BLINK_PAUSE * np.exp(BLINK_SPREAD * generator.standard_normal(count))
    lids = np.zeros(len(times))
    for start in np.cumsum(pauses.clip(0.8, 10)):
        first, last = np.searchsorted(times, (start, start + CLOSE + HOLD + OPEN))
        since = times[first:last] - start
        closed = np.minimum(since / CLOSE, (CLOSE + HOLD + OPEN - since) / OPEN).clip(0, 1)
        lids[first:last] = closed * closed * (3 - 2 * closed)
    return lids
