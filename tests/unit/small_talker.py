"""Small DiffPoseTalk models with random weights, and the plain oracle's result for their takes."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from benchmarks.speech_weights import OPTIONS, SMALL, TINY, random_state, talker_shapes
from headsplat.networks.wav2vec import Sizes
from headsplat.speech.diffposetalk.model import DiffPoseTalk, build_model
from headsplat.speech.diffposetalk.sampler import Take
from headsplat.speech.diffposetalk.settings import read_settings
from tests.oracles.diffposetalk import PlainDenoiser, talk

SMALL_ENCODER = Sizes(heads=2, **SMALL)


@dataclass
class KeptNoise:
    """Noise of the CPU that remembers what it gave."""

    generator: torch.Generator
    device: str = "cpu"
    given: list[Tensor] = field(default_factory=list)

    def normal(self, *shape: int) -> Tensor:
        self.given.append(torch.randn(shape, generator=self.generator))
        return self.given[-1].to(self.device)


@dataclass(frozen=True)
class Small:
    """A small model, its entries, and its options."""

    model: DiffPoseTalk
    state: dict
    options: dict

    def takes(self, windows: list[int], styled: bool, device: str = "cpu") -> list[Take]:
        """Takes of so many windows, the last of each not full."""
        made, own = [], self.model.settings
        for seed, count in enumerate(windows):
            generator = torch.Generator().manual_seed(10 + seed)
            audio, shape, style = (
                torch.randn(size, generator=generator)
                for size in ((count * own.n_motions, own.feature_dim), (100,), (own.d_style,))
            )
            frames = len(audio) - 1 - 2 * seed
            style = style.to(device) if styled else None
            noise = KeptNoise(generator, device)
            made.append(Take(audio.to(device), frames, shape.to(device), style, noise))
        return made

    def expected(self, take: Take, steps: int, scales=(1.15, 3.0), quantile=0.0) -> Tensor:
        """The oracle's float64 motion of a take that has been sampled."""
        trained = self.options["n_diff_steps"]
        start, *noises = [value.double() for value in take.noise.given]
        noises = torch.cat(noises) if noises else None
        times = np.arange(trained, 0, -1)
        if steps < trained:
            times = np.linspace(trained, 1, steps).round().astype(int)
        values = [v if v is None else v.cpu().double()
                  for v in (take.audio, take.shape, take.style)]  # fmt: skip
        return talk(
            PlainDenoiser(self.state, self.options), values[0], take.frames, *values[1:], start,
            lambda window, t: noises[window * trained + trained - t][None], times.tolist(),
            scales, quantile,
        )  # fmt: skip


def small_model(monkeypatch, **changed) -> Small:
    """A model of small sizes; `changed` options on top."""
    monkeypatch.setattr("headsplat.speech.diffposetalk.model.ENCODER", SMALL_ENCODER)
    options = OPTIONS | TINY | changed
    state = random_state(talker_shapes(options, SMALL))
    return Small(build_model(read_settings(options, "x.pt"), state, "x.pt"), state, options)
