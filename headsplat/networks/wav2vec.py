"""wav2vec 2.0 base (Baevski et al., 2020) and HuBERT base (Hsu et al., 2021), which share a graph.

Parameter names and shapes are those of the published weights: 211 entries, with either spelling of
the normalized convolution. Dropout and masking belong to training and are left out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

# Kernel and stride of each convolution: a frame of 400 samples every 320, which is 50 Hz.
CONVOLUTIONS = ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2))
HOP, WINDOW, RATE = 320, 400, 50
_FIRST_KERNEL, _FIRST_HOP = CONVOLUTIONS[0]
# Frames per piece of the convolutions; a piece of 10 s takes 65 MB in the first of them.
_CONVOLVED = 500
# Frames per piece of the encoder and on either side of it, by type of device. Attention costs the
# square of a piece, which a GPU bears for ten minutes.
PIECES = {"cpu": (60 * RATE, 4 * RATE), "cuda": (600 * RATE, 10 * RATE)}
_SPELLINGS = {
    "parametrizations.weight.original0": "weight_g",
    "parametrizations.weight.original1": "weight_v",
}


@dataclass(frozen=True)
class Sizes:
    """Sizes of a network; the defaults are those of the base models.

    Attributes:
        channels: of the convolutions.
        width: of the encoder.
        hidden: of its feed-forward layers.
        layers: number of its layers.
        heads: of its attention.
        kernel: of the positional convolution.
        groups: of the positional convolution.
    """

    channels: int = 512
    width: int = 768
    hidden: int = 3072
    layers: int = 12
    heads: int = 12
    kernel: int = 128
    groups: int = 16


class _Convolution(nn.Module):
    """One convolution, followed by GELU.

    The first one holds a norm of each channel over time, which `_Extractor` applies.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, normed: bool) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, kernel, stride, bias=False)
        if normed:
            self.layer_norm = nn.GroupNorm(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return functional.gelu(self.conv(x))


class _Extractor(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        widths = (1, *[sizes.channels] * len(CONVOLUTIONS))
        self.conv_layers = nn.ModuleList(
            _Convolution(a, b, *shape, normed=a == 1)
            for (a, b), shape in zip(pairwise(widths), CONVOLUTIONS, strict=True)
        )

    def forward(self, samples: Tensor) -> Tensor:
        """(B, n) samples -> (B, T, channels), T = frames(n).

        The first layer is normalized over the whole sound, and the sound may be long. Its
        statistics are summed over pieces first, and then the pieces are made.
        """
        total = frames(samples.shape[1])
        scale, shift = self._normalization(samples)
        parts = []
        for start in range(0, total, _CONVOLVED):
            end = min(total, start + _CONVOLVED)
            piece = samples[:, None, start * HOP : (end - 1) * HOP + WINDOW]
            x = functional.gelu(torch.addcmul(shift, self.conv_layers[0].conv(piece), scale))
            for layer in self.conv_layers[1:]:
                x = layer(x)
            parts.append(x.transpose(1, 2))
        return torch.cat(parts, 1)

    def _normalization(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and shift (B, channels, 1) of the first layer's channels."""
        first = self.conv_layers[0]
        norm = first.layer_norm
        count = (samples.shape[1] - _FIRST_KERNEL) // _FIRST_HOP + 1
        step = _CONVOLVED * HOP // _FIRST_HOP
        sums: list[Tensor] = []
        for start in range(0, count, step):
            end = min(count, start + step)
            span = slice(start * _FIRST_HOP, (end - 1) * _FIRST_HOP + _FIRST_KERNEL)
            x = first.conv(samples[:, None, span])
            mean = x.mean(2, dtype=torch.float32)
            off = (x - mean[..., None]).square().sum(2, dtype=torch.float32)
            sums.append(torch.stack([mean.double() * (end - start), off.double(),
                                     mean.double().square() * (end - start)]))  # fmt: skip
        total, off, square = torch.stack(sums).sum(0)
        mean = total / count
        variance = (off + square) / count - mean.square()
        scale = norm.weight / (variance.clamp(min=0) + norm.eps).sqrt().to(norm.weight.dtype)
        return scale[..., None], (norm.bias - mean.to(scale.dtype) * scale)[..., None]


class _Projection(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(sizes.channels)
        self.projection = nn.Linear(sizes.channels, sizes.width)

    def forward(self, x: Tensor) -> Tensor:
        return self.projection(self.layer_norm(x))


class _NormedConvolution(nn.Module):
    """A grouped convolution over time with weight normalization over outputs and inputs."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.groups = sizes.groups
        shape = (sizes.width, sizes.width // sizes.groups, sizes.kernel)
        self.weight_g = nn.Parameter(torch.ones(1, 1, sizes.kernel))
        self.weight_v = nn.Parameter(torch.randn(shape) * 0.02)
        self.bias = nn.Parameter(torch.zeros(sizes.width))

    def forward(self, x: Tensor) -> Tensor:
        norm = self.weight_v.square().sum((0, 1), keepdim=True).sqrt()
        weight, kernel = self.weight_v * (self.weight_g / norm), self.weight_v.shape[2]
        x = functional.conv1d(x, weight, self.bias, padding=kernel // 2, groups=self.groups)
        return functional.gelu(x[..., : x.shape[-1] - (kernel + 1) % 2])


class _Attention(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.heads = sizes.heads
        for name in ("k_proj", "v_proj", "q_proj", "out_proj"):
            setattr(self, name, nn.Linear(sizes.width, sizes.width))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            project(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        if x.is_cuda:
            # Half precision has the mantissa of TF32, and attention over minutes is fast in it.
            q, k, v = q.half(), k.half(), v.half()
        y = functional.scaled_dot_product_attention(q, k, v).to(x.dtype)
        return self.out_proj(y.transpose(1, 2).flatten(2))


class _FeedForward(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.intermediate_dense = nn.Linear(sizes.width, sizes.hidden)
        self.output_dense = nn.Linear(sizes.hidden, sizes.width)

    def forward(self, x: Tensor) -> Tensor:
        return self.output_dense(functional.gelu(self.intermediate_dense(x)))


class _Layer(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.attention = _Attention(sizes)
        self.layer_norm = nn.LayerNorm(sizes.width)
        self.feed_forward = _FeedForward(sizes)
        self.final_layer_norm = nn.LayerNorm(sizes.width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer_norm(x + self.attention(x))
        return self.final_layer_norm(x + self.feed_forward(x))


class _Encoder(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.pos_conv_embed = nn.ModuleDict({"conv": _NormedConvolution(sizes)})
        self.layer_norm = nn.LayerNorm(sizes.width)
        self.layers = nn.ModuleList(_Layer(sizes) for _ in range(sizes.layers))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.pos_conv_embed["conv"](x.transpose(1, 2)).transpose(1, 2)
        x = self.layer_norm(x)
        for layer in self.layers:
            x = layer(x)
        return x


class Wav2Vec(nn.Module):
    """HuBERT base or wav2vec2 base.

    Args:
        sizes: of the network.
    """

    def __init__(self, sizes: Sizes = Sizes()) -> None:  # noqa: B008 (frozen)
        super().__init__()
        self.masked_spec_embed = nn.Parameter(torch.zeros(sizes.width))
        self.feature_extractor = _Extractor(sizes)
        self.feature_projection = _Projection(sizes)
        self.encoder = _Encoder(sizes)

    def features(self, samples: Tensor) -> Tensor:
        """(B, n) samples at 16 kHz, n >= 400 -> (B, frames(n), channels) at 50 Hz."""
        return self.feature_extractor(samples)

    def encode(self, features: Tensor) -> Tensor:
        """(B, T, channels) features -> (B, T, width).

        Long sound is encoded in pieces with margins (`PIECES`), which bounds time and memory.
        """
        length, margin = PIECES.get(features.device.type, PIECES["cpu"])
        parts = []
        for start, end, first, last in pieces(features.shape[1], length, margin):
            whole = self.encoder(self.feature_projection(features[:, first:last]))
            parts.append(whole[:, start - first : end - first])
        return torch.cat(parts, 1)


def frames(samples: int) -> int:
    """Number of frames that the convolutions make of so many samples."""
    for kernel, stride in CONVOLUTIONS:
        samples = (samples - kernel) // stride + 1
    return max(0, samples)


def pieces(count: int, length: int, margin: int) -> Iterator[tuple[int, int, int, int]]:
    """(start, end, first, last): ranges that cover `count` frames, and the same with margins."""
    if count <= length + 2 * margin:
        yield 0, count, 0, count
        return
    for start in range(0, count, length):
        end = min(count, start + length)
        yield start, end, max(0, start - margin), min(count, end + margin)


def one_spelling(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state with the older spelling of weight normalization, `weight_g` and `weight_v`."""
    named = {}
    for key, tensor in state.items():
        for new, old in _SPELLINGS.items():
            if key.endswith(f".pos_conv_embed.conv.{new}"):
                key = key.removesuffix(new) + old
        named[key] = tensor
    return named
