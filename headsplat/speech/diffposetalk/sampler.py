"""Motion from audio features: windows one after another, sequences side by side.

Repetitions, sounds and subjects are sequences of one batch. A window needs the last frames of the
window before it, so windows cannot be a batch. The initial noise of a sequence is used for all of
its windows, as the official code does.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from headsplat.runtime.errors import UserError
from headsplat.runtime.logs import log
from headsplat.speech.diffposetalk.denoiser import Window
from headsplat.speech.diffposetalk.model import DiffPoseTalk
from headsplat.speech.diffposetalk.schedule import sampling_steps
from headsplat.speech.diffposetalk.settings import AUDIO, STYLE
from headsplat.speech.diffposetalk.steps import Noise, StepRunner

# Sequences side by side; more are made in several batches.
BATCH = 64


class SeededNoise:
    """Noise that depends on the seed and the type of device.

    Args:
        seed: of the generator.
        device: where the numbers are made.
    """

    def __init__(self, seed: int, device: torch.device | str) -> None:
        self._generator = torch.Generator(device).manual_seed(seed)

    def normal(self, *shape: int) -> Tensor:
        """The next numbers."""
        device = self._generator.device
        return torch.randn(shape, generator=self._generator, device=device)


@dataclass(frozen=True)
class Take:
    """One sequence to make: a sound, a person, and random numbers.

    Attributes:
        audio: (W L, d) features of W windows, from `DiffPoseTalk.listen`.
        frames: number of frames with sound.
        shape: (100,) the person's shape, normalized.
        style: (d_style,), or None for no style.
        noise: its random numbers.
    """

    audio: Tensor
    frames: int
    shape: Tensor
    style: Tensor | None
    noise: Noise


@dataclass(frozen=True)
class Sampling:
    """How to sample.

    Attributes:
        steps: diffusion steps; as many as the training had are the official schedule.
        audio_scale: strength of the audio's guidance.
        style_scale: strength of the style's.
        threshold: quantile of dynamic thresholding, below 1; 0 for none.
        dtype: type of the network's numbers.
    """

    steps: int = 500
    audio_scale: float = 1.15
    style_scale: float = 3.0
    threshold: float = 0.0
    dtype: torch.dtype = torch.float32


@torch.no_grad()
def sample(model: DiffPoseTalk, takes: Sequence[Take], sampling: Sampling) -> list[Tensor]:
    """Make sequences of motion.

    Args:
        model: the model, on the device that computes.
        takes: any number, of any length.
        sampling: steps and guidance.

    Returns:
        (frames, motion) normalized motion of each take, float32 on the device.

    Raises:
        UserError: a take has no style, and the model was not trained to miss it.
    """
    made: dict[int, Tensor] = {}
    for group in _groups(takes):
        batch = _Batch(model, [takes[k] for k in group], sampling)
        made |= zip(group, batch.run(), strict=True)
    return [made[k] for k in range(len(takes))]


def _groups(takes: Sequence[Take]) -> list[list[int]]:
    """Numbers of takes by batch: with or without a style, longest first."""
    groups = []
    for styled in (True, False):
        chosen = [k for k, take in enumerate(takes) if (take.style is not None) == styled]
        chosen.sort(key=lambda k: -len(takes[k].audio))
        groups += [chosen[k : k + BATCH] for k in range(0, len(chosen), BATCH)]
    return groups


class _Batch:
    """Takes that are made side by side, longest first; all have a style or none has."""

    def __init__(self, model: DiffPoseTalk, takes: Sequence[Take], sampling: Sampling) -> None:
        self._model, self._takes = model, takes
        own = model.settings
        self._span, self._styled = own.n_motions, takes[0].style is not None
        self._guidance = [
            (name, scale)
            for name, scale in ((AUDIO, sampling.audio_scale), (STYLE, sampling.style_scale))
            if name in own.guided and (name == AUDIO or self._styled)
        ]
        if own.d_style and not self._styled and STYLE not in own.guided:
            raise UserError("this DiffPoseTalk model needs a style; give a style encoder")
        self._net = model.denoising_net
        if sampling.dtype != next(self._net.parameters()).dtype:
            self._net = copy.deepcopy(self._net).to(sampling.dtype)
        self._sampling = sampling
        self._steps = sampling_steps(
            own.diff_schedule, own.n_diff_steps, min(sampling.steps, own.n_diff_steps)
        )

    def run(self) -> list[Tensor]:
        """The motion of each take."""
        own, model, span = self._model.settings, self._model, self._span
        counts = [len(take.audio) // span for take in self._takes]
        starts = torch.stack([take.noise.normal(span, own.motion_dim) for take in self._takes])
        starts = starts.to(model.start_motion_feat)
        motion = model.start_motion_feat.expand(len(counts), -1, -1)
        heard = model.start_audio_feat.expand(len(counts), -1, -1)
        parts: list[list[Tensor]] = [[] for _ in counts]
        runner, total = None, sum(counts)
        for number in range(counts[0]):
            active = sum(count > number for count in counts)
            if runner is None or active != len(runner.x):
                scales = [scale for _, scale in self._guidance]
                runner = StepRunner(
                    self._net, self._steps, scales, active, self._sampling.threshold
                )
            audio = torch.stack(
                [take.audio[number * span : (number + 1) * span] for take in self._takes[:active]]
            )
            window = self._window(number, audio, motion[:active], heard[:active])
            noises = [take.noise for take in self._takes[:active]]
            made = runner.run(window, starts[:active], noises)
            for part, one in zip(parts, made, strict=False):
                part.append(one)
            motion, heard = made[:, span - own.n_prev_motions :], audio[:, -own.n_prev_motions :]
            log.info("speech: %d of %d windows", sum(map(len, parts)), total)
        return [
            torch.cat(part)[: take.frames] for part, take in zip(parts, self._takes, strict=True)
        ]

    def _window(self, number: int, audio: Tensor, motion: Tensor, heard: Tensor) -> Window:
        """Prepare window `number` of the takes that reach it, with all entries of guidance."""
        model, takes = self._model, self._takes[: len(audio)]
        named = [name for name, _ in self._guidance]
        place = torch.arange(self._span) + number * self._span
        indicator = torch.stack([(place < take.frames).to(audio.dtype) for take in takes])
        shape = torch.stack([take.shape for take in takes]).to(audio)
        people, sounds = [], []
        for have in range(len(named) + 1):
            conditions = named[:have]
            missing = set(named) - set(conditions)
            style = shape[:, :0]
            if model.settings.d_style:
                known = self._styled and STYLE not in missing
                style = torch.stack([take.style for take in takes]).to(audio) if known else (
                    model.null_style_feat[0].expand(len(takes), -1)
                )  # fmt: skip
            people.append(torch.cat([shape, style], 1))
            sounds.append(model.null_audio_feat.expand_as(audio) if AUDIO in missing else audio)
        entries = len(people)
        return self._net.window(
            torch.cat(people),
            torch.cat([heard.repeat(entries, 1, 1), torch.cat(sounds)], 1),
            motion.repeat(entries, 1, 1),
            indicator.to(audio.device).repeat(entries, 1),
        )
