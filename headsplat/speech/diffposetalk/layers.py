"""Layers under the names of `torch.nn`'s transformer, for DiffPoseTalk's weights.

All normalize after the residual sum and use GELU. Attention and feed-forward are applied by the
networks, which keep what does not change between diffusion steps.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class Attention(nn.Module):
    """Multi-head attention with the parameters of `nn.MultiheadAttention`.

    Args:
        width: of tokens.
        heads: number of heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def project(self, x: Tensor, first: int, last: int) -> tuple[Tensor, ...]:
        """Some of query 0, key 1 and value 2 of tokens (E, N, width), each (E, heads, N, d)."""
        width = x.shape[-1]
        rows = slice(first * width, last * width)
        made = functional.linear(x, self.in_proj_weight[rows], self.in_proj_bias[rows])
        made = made.unflatten(-1, (last - first, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return made.unbind(0)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """(E, heads, N, d) queries on keys and values -> (E, N, width); mask True: seen."""
        y = functional.scaled_dot_product_attention(q, k, v, mask)
        return self.out_proj(y.transpose(1, 2).flatten(2))

    def to_self(self, x: Tensor) -> Tensor:
        """(E, N, width) tokens that attend to each other."""
        return self.attend(*self.project(x, 0, 3))

    def of_one(self, x: Tensor) -> Tensor:
        """(E, N, width): what a query gets that sees the token x alone, whatever the query is."""
        width = x.shape[-1]
        weight, bias = self.in_proj_weight[2 * width :], self.in_proj_bias[2 * width :]
        return self.out_proj(functional.linear(x, weight, bias))


class DecoderLayer(nn.Module):
    """Parameters of `nn.TransformerDecoderLayer`."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.self_attn = Attention(width, heads)
        self.multihead_attn = Attention(width, heads)
        self.linear1, self.linear2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))

    def feed(self, x: Tensor) -> Tensor:
        """The feed-forward part, without residual and norm."""
        return self.linear2(functional.gelu(self.linear1(x)))


class EncoderLayer(nn.Module):
    """`nn.TransformerEncoderLayer`: (E, N, width) -> (E, N, width)."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.self_attn = Attention(width, heads)
        self.linear1, self.linear2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens that have attended to each other."""
        x = self.norm1(x + self.self_attn.to_self(x))
        return self.norm2(x + self.linear2(functional.gelu(self.linear1(x))))


class Layers(nn.Module):
    """A list of layers under the name `layers`.

    Args:
        layers: the list.
    """

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)


def sinusoids(times: Tensor, width: int) -> Tensor:
    """(T,) times -> (T, width) of Vaswani et al., 2017, sine and cosine interleaved; float32."""
    rates = torch.exp(torch.arange(0, width, 2).float() * (-math.log(10_000.0) / width))
    angles = times.float()[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)
