"""The diffusion steps of one window after another, at fixed addresses, so that a GPU replays them.

Step number, noise and factors are read from tables on the device: no step waits for the host.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from headsplat.runtime.cuda_graph import CudaGraph
from headsplat.runtime.device import fast_products
from headsplat.runtime.heartbeat import beat
from headsplat.speech.diffposetalk.denoiser import Denoiser, Window
from headsplat.speech.diffposetalk.schedule import Steps

_BLOCK = 50  # steps whose noise is made at once
# Bounds of the threshold of dynamic thresholding.
_LOWEST, _HIGHEST = 1.0, 4.0


class Noise(Protocol):
    """Normally distributed numbers: the first (L, motion) start a sequence, the rest are steps'."""

    def normal(self, *shape: int) -> Tensor:
        """The next numbers."""
        ...


class StepRunner:
    """Runs all steps of a window for a batch of sequences.

    Args:
        net: the denoiser.
        steps: the sampling steps.
        scales: strength of each guidance entry after the first.
        size: B, number of sequences.
        threshold: quantile of dynamic thresholding; 0 for none.
    """

    def __init__(
        self, net: Denoiser, steps: Steps, scales: Sequence[float], size: int, threshold: float
    ) -> None:
        self._net, self._scales, self._threshold = net, tuple(scales), threshold
        own, weight = net.settings, net.feature_proj.weight
        device = weight.device
        shape = (size, own.n_motions, own.motion_dim)
        self._count, self._noisy = len(steps.times), bool(steps.sigma.any())
        self._moments = net.moments(torch.from_numpy(steps.times))
        factors = np.stack([steps.keep, steps.take, steps.sigma], 1)
        self._factors = torch.from_numpy(factors).float().to(device)
        self.x = torch.zeros(shape, device=device)
        self._noise = torch.zeros((_BLOCK if self._noisy else 1, *shape), device=device)
        self._row, self._place = (torch.zeros(1, dtype=torch.long, device=device) for _ in range(2))
        self._window: Window | None = None
        self._graph = CudaGraph(self._step, device)

    def run(self, window: Window, start: Tensor, noises: Sequence[Noise]) -> Tensor:
        """All steps of one window.

        Args:
            window: the prepared window.
            start: (B, L, motion) noise that it starts from.
            noises: of each sequence.

        Returns:
            (B, L, motion) float32.
        """
        if self._window is None:
            self._window = window.clone()
        for kept, given in zip(self._window.tensors(), window.tensors(), strict=True):
            kept.copy_(given)
        self.x.copy_(start)
        self._row.zero_()
        with fast_products(self.x.device):
            for first in range(0, self._count, _BLOCK):
                count = min(_BLOCK, self._count - first)
                self._fill(count, noises)
                for step in range(count):
                    self._graph()
                    beat("diffusion steps", first + step + 1, self._count)
        return self.x.clone()

    def _fill(self, count: int, noises: Sequence[Noise]) -> None:
        self._place.zero_()
        if self._noisy:
            for number, noise in enumerate(noises):
                self._noise[:count, number] = noise.normal(count, *self.x.shape[1:])

    def _step(self) -> None:
        entries = len(self._scales) + 1
        moment = self._moments.index_select(0, self._row)
        made = self._net(self.x.repeat(entries, 1, 1), moment, self._window)
        if self._threshold:
            made = held(made, self._threshold)
        clean, *rest = made.chunk(entries)
        before = clean
        for scale, entry in zip(self._scales, rest, strict=True):
            clean, before = clean + scale * (entry - before), entry
        keep, take, sigma = self._factors.index_select(0, self._row)[0]
        x = keep * self.x + take * clean
        if self._noisy:
            x = x + sigma * self._noise.index_select(0, self._place)[0]
        self.x.copy_(x)
        self._row += 1
        self._place += 1


def held(made: Tensor, quantile: float) -> Tensor:
    """Dynamic thresholding (Saharia et al., 2022): (E, L, motion) clamped to its own quantile."""
    values = made.abs().flatten(1).sort(1).values
    place = quantile * (values.shape[1] - 1)
    low = int(place)
    high = min(low + 1, values.shape[1] - 1)
    limit = torch.lerp(values[:, low], values[:, high], place - low)
    limit = limit.clamp(_LOWEST, _HIGHEST)[:, None, None]
    return torch.minimum(torch.maximum(made, -limit), limit)
