"""Everything random or scheduled about a run, drawn before its first step.

A resumed run takes the same rows of the same tables, so it needs no generator state, and a step
asks the host for nothing.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Plan:
    """Tables of a run of S steps of B pictures.

    Attributes:
        rows: (S, B) long, which training frames; each frame once per pass, passes shuffled.
        backgrounds: (S, B, 3) colours in 0..1.
        rates: S factors on the learning rates.
    """

    rows: Tensor
    backgrounds: Tensor
    rates: list[float]


def make_plan(frames: int, steps: int, batch: int, seed: int, warm: int, final: float) -> Plan:
    """Draw the tables.

    Args:
        frames: number of training frames.
        steps: S.
        batch: B.
        seed: of everything drawn here.
        warm: steps over which the rate rises linearly.
        final: the factor at the last step; between, it falls along a half cosine.
    """
    generator = torch.Generator().manual_seed(seed)
    passes = math.ceil(steps * batch / frames)
    order = [torch.randperm(frames, generator=generator) for _ in range(passes)]
    rows = torch.cat(order)[: steps * batch].reshape(steps, batch)
    backgrounds = torch.rand((steps, batch, 3), generator=generator)
    rates = []
    for step in range(steps):
        fall = (1 + math.cos(math.pi * step / steps)) / 2
        rates.append(min(1.0, (step + 1) / warm) * (final + (1 - final) * fall))
    return Plan(rows, backgrounds, rates)
