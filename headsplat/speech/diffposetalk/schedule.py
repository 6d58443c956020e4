"""Diffusion schedules of DiffPoseTalk, and the update of each sampling step.

All samplers here are linear: x' = keep x + take x0 + sigma z with z normal and x0 the network's
prediction. The full schedule is the posterior of DDPM (Ho et al., 2020), the short one is DDIM
without noise (Song et al., 2021).
"""

import math
from dataclasses import dataclass

import numpy as np

_BETAS = (1e-4, 0.02)
_OFFSET, _LARGEST = 0.008, 0.999


@dataclass(frozen=True)
class Steps:
    """The sampling steps, first to last, each (S,) float64 but `times`.

    Attributes:
        times: diffusion time of each step, integers.
        keep: factor of x.
        take: factor of x0.
        sigma: factor of the noise.
    """

    times: np.ndarray
    keep: np.ndarray
    take: np.ndarray
    sigma: np.ndarray


def alpha_bars(kind: str, steps: int) -> np.ndarray:
    """(steps + 1,) share of the signal's variance at each time; 1 at time 0."""
    low, high = _BETAS
    if kind == "cosine":
        phase = (np.arange(steps + 1) / steps + _OFFSET) / (1 + _OFFSET)
        bars = np.cos(phase * math.pi / 2) ** 2
        betas = (1 - bars[1:] / bars[:-1]).clip(low, _LARGEST)
    elif kind == "sigmoid":
        betas = (high - low) / (1 + np.exp(-np.linspace(-5, 5, steps))) + low
    elif kind == "quadratic":
        betas = np.linspace(low**0.5, high**0.5, steps) ** 2
    else:
        betas = np.linspace(low, high, steps)
    return np.concatenate([[1.0], np.cumprod(1 - betas)])


def sampling_steps(kind: str, trained: int, wanted: int) -> Steps:
    """The steps of a schedule.

    Args:
        kind: the schedule's name.
        trained: steps of the training.
        wanted: steps to take; as many as `trained` are DDPM's, fewer are DDIM's.
    """
    bars = alpha_bars(kind, trained)
    if wanted >= trained:
        times = np.arange(trained, 0, -1)
        now, after = bars[times], bars[times - 1]
        alpha = now / after
        return Steps(
            times,
            (1 - after) * np.sqrt(alpha) / (1 - now),
            (1 - alpha) * np.sqrt(after) / (1 - now),
            np.sqrt((1 - after) / (1 - now) * (1 - alpha)),
        )
    times = np.linspace(trained, 1, wanted).round().astype(int)
    now, after = bars[times], np.append(bars[times[1:]], 1.0)
    keep = np.sqrt((1 - after) / (1 - now))
    return Steps(times, keep, np.sqrt(after) - keep * np.sqrt(now), np.zeros(wanted))
