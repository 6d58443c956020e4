"""DiffPoseTalk's denoising network (Sun et al., SIGGRAPH 2024), arranged for many diffusion steps.

Tokens of a window: the person with the diffusion time, the frames before it, and its frames. Each
frame attends to its own audio frame alone, so that its cross-attention does not depend on the
query: it is computed once a window. Only the person's token attends to the whole window, with keys
and values that are computed once too. The result equals the plain decoder's.

E is the number of sequences times the number of guidance entries, P and L the frames before and in
the window, d the width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from headsplat.speech.diffposetalk.layers import DecoderLayer, Layers, sinusoids
from headsplat.speech.diffposetalk.settings import Settings


@dataclass(frozen=True)
class Window:
    """What does not change between the diffusion steps of a window.

    Attributes:
        person: (E, 1, d) the person's token without the diffusion time.
        before: (E, P, d) tokens of the frames before.
        place: (E, L, d) what is added to the projected frames.
        keys: of each layer, (E, heads, P + L, d / heads).
        values: of each layer.
        crossed: cross-attention of each layer, (E, 1 + P + L, d), in which the person's row is
            replaced at each step; empty if frames attend to more than one audio frame.
    """

    person: Tensor
    before: Tensor
    place: Tensor
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    crossed: tuple[Tensor, ...]

    def tensors(self) -> list[Tensor]:
        """All tensors in a fixed order."""
        return [self.person, self.before, self.place, *self.keys, *self.values, *self.crossed]

    def clone(self) -> "Window":
        """A copy at addresses of its own."""
        lists = (tuple(map(torch.clone, part)) for part in (self.keys, self.values, self.crossed))
        return Window(self.person.clone(), self.before.clone(), self.place.clone(), *lists)


class Denoiser(nn.Module):
    """The denoising network, with the parameter names of the official one.

    Args:
        settings: of the model.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        width, motion = settings.feature_dim, settings.motion_dim
        self.diff_step_map = nn.Sequential(
            nn.Linear(width, width), nn.GELU(), nn.Linear(width, width)
        )
        if settings.learnable_pe:
            self.PE = nn.Parameter(torch.randn(1, 1 + settings.context, width))
        self.person_proj = nn.Linear(settings.person_dim, width)
        self.feature_proj = nn.Linear(motion + settings.use_indicator, width)
        hidden = settings.mlp_ratio * width
        self.transformer = Layers(
            [DecoderLayer(width, settings.n_heads, hidden) for _ in range(settings.n_layers)]
        )
        if settings.align_mask_width:
            self.register_buffer("alignment_mask", alignment_mask(settings))
        self.motion_dec = nn.Sequential(
            nn.Linear(width, width // 2), nn.GELU(), nn.Linear(width // 2, motion)
        )

    @property
    def aligned(self) -> bool:
        """Whether each frame attends to its own audio frame alone."""
        return self.settings.align_mask_width == 1

    def moments(self, times: Tensor) -> Tensor:
        """(T,) diffusion times -> (T, d): what is added to the person's token."""
        first = self.diff_step_map[0].weight
        table = sinusoids(times.cpu(), self.settings.feature_dim)
        return self.diff_step_map(table.to(first))

    def window(self, person: Tensor, audio: Tensor, before: Tensor, indicator: Tensor) -> Window:
        """Prepare a window.

        Args:
            person: (E, shape and style).
            audio: (E, P + L, d) of the frames before and in the window.
            before: (E, P, motion) of the frames before, normalized.
            indicator: (E, L) 1 for frames with sound, 0 beyond its end.
        """
        kind = self.feature_proj.weight.dtype
        person, audio, before, indicator = (
            value.to(kind) for value in (person, audio, before, indicator)
        )
        place, count = self._places(), 1 + before.shape[1]
        mark = torch.zeros_like(indicator[..., None])
        if self.settings.use_indicator:
            before = functional.pad(before, (0, 1))
            mark = indicator[..., None] * self.feature_proj.weight[:, -1]
        keys, values, crossed = [], [], []
        for layer in self.transformer.layers:
            k, v = layer.multihead_attn.project(audio, 1, 3)
            keys.append(k.contiguous())
            values.append(v.contiguous())
            if self.aligned:
                crossed.append(functional.pad(layer.multihead_attn.of_one(audio), (0, 0, 1, 0)))
        return Window(
            self.person_proj(person)[:, None] + place[:, :1],
            self.feature_proj(before) + place[:, 1:count],
            place[:, count:] + self.feature_proj.bias + mark,
            tuple(keys),
            tuple(values),
            tuple(crossed),
        )

    def _places(self) -> Tensor:
        """(1, 1 + P + L, d) embedding of positions."""
        if self.settings.learnable_pe:
            return self.PE
        # The official code adds the row of the sequence's length to every token.
        count = 1 + self.settings.context
        row = sinusoids(torch.tensor([count]), self.settings.feature_dim)
        return row.to(self.feature_proj.weight).expand(1, count, -1)

    def forward(self, frames: Tensor, moment: Tensor, window: Window) -> Tensor:
        """Predict the frames without noise.

        Args:
            frames: (E, L, motion) with noise.
            moment: (1, d) or (E, d) of the diffusion time.
            window: the prepared window, whose `crossed` is written to.

        Returns:
            (E, L, motion) float32.
        """
        weight = self.feature_proj.weight[:, : frames.shape[-1]]
        now = functional.linear(frames.to(weight.dtype), weight) + window.place
        x = torch.cat([window.person + moment[:, None], window.before, now], 1)
        for number, layer in enumerate(self.transformer.layers):
            x = layer.norm1(x + layer.self_attn.to_self(x))
            x = layer.norm2(x + self._cross(layer, number, x, window))
            x = layer.norm3(x + layer.feed(x))
        return self.motion_dec(x[:, -frames.shape[1] :]).float()

    def _cross(self, layer: DecoderLayer, number: int, x: Tensor, window: Window) -> Tensor:
        attention = layer.multihead_attn
        keys, values = window.keys[number], window.values[number]
        if self.aligned:
            (query,) = attention.project(x[:, :1], 0, 1)
            crossed = window.crossed[number]
            crossed[:, :1] = attention.attend(query, keys, values)
            return crossed
        (query,) = attention.project(x, 0, 1)
        seen = ~self.alignment_mask if self.settings.align_mask_width else None
        return attention.attend(query, keys, values, seen)


def alignment_mask(settings: Settings) -> Tensor:
    """(1 + P + L, P + L) bool, True where a token does not see an audio frame."""
    frames = torch.arange(settings.context, device="cpu")
    hidden = (frames[:, None] - frames).abs() >= settings.align_mask_width
    return functional.pad(hidden, (0, 0, 1, 0))
