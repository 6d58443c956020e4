"""Random draws and schedules of a training run, fixed before its first step.

A resumed run reads the same rows of the same tables, so no generator state is saved. A step needs
no data from the host.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from headsplat.train.crops import crop_size, draw_corners
from headsplat.train.options import TrainOptions


@dataclass(frozen=True)
class Plan:
    """Tables of a run of S steps of B images.

    Attributes:
        rows: (S, B) long, training frames of each step; every pass is a shuffled permutation.
        backgrounds: (S, B, 3) colors in 0..1.
        code_noise: (S, B, C) normal noise for the frames' codes, in the deviations of the codes.
        corners: (S, B, 2) long, row and column of the LPIPS crops.
        rates: S factors on the learning rates.
    """

    rows: Tensor
    backgrounds: Tensor
    code_noise: Tensor
    corners: Tensor
    rates: list[float]


def make_plan(
    frames: int,
    options: TrainOptions,
    code_size: int,
    size: tuple[int, int],
    warm: int,
    final: float,
) -> Plan:
    """Draw all random numbers of a run from its seed.

    Args:
        frames: number of training frames.
        options: steps S, batch B, seed of everything drawn here, deviation of the noise.
        code_size: C, numbers in a frame's code and pose.
        size: height and width of the images.
        warm: number of warm-up steps, in which the learning rate rises linearly.
        final: learning rate factor at the last step, reached by cosine decay.
    """
    steps, batch = options.steps, options.batch
    generator = torch.Generator().manual_seed(options.seed)
    passes = math.ceil(steps * batch / frames)
    order = [torch.randperm(frames, generator=generator) for _ in range(passes)]
    rows = torch.cat(order)[: steps * batch].reshape(steps, batch)
    backgrounds = torch.rand((steps, batch, 3), generator=generator)
    code_noise = torch.randn((steps, batch, code_size), generator=generator) * options.code_noise
    corners = draw_corners(generator, steps, batch, *size, crop_size(*size))
    rates = []
    for step in range(steps):
        fall = (1 + math.cos(math.pi * step / steps)) / 2
        rates.append(min(1.0, (step + 1) / warm) * (final + (1 - final) * fall))
    return Plan(rows, backgrounds, code_noise, corners, rates)
