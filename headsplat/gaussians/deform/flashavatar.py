"""FlashAvatar's deformation (Xiang et al., CVPR 2024): one MLP moves every Gaussian.

Inputs of the 6 x 256 MLP are the encoded canonical position of a point (51 numbers) and the frame
code. Outputs, through tanh, are an offset, a rotation and a factor on the LOG scale. Opacity and
color (spherical harmonics of degree 3) are constant over frames. Parameter names and shapes are
those of the published checkpoints.
"""

import math
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from headsplat.gaussians.anchors import Anchors, texel_anchors
from headsplat.gaussians.deform.base import (
    HIDDEN_LOGIT,
    Deformation,
    FrameInputs,
    Gaussians,
    HeadSurface,
    InitialState,
)
from headsplat.gaussians.deform.relu_network import relu_network
from headsplat.gaussians.raster.operators import Operator
from headsplat.gaussians.sh import constant_coefficient, harmonic_colors
from headsplat.options import option

FREQUENCIES = 8
ENCODED = 3 * (1 + 2 * FREQUENCIES)
WIDTH = 256
HIDDEN = 6
OUTPUTS = 10
DEGREE = 3
# Training images per added degree of the harmonics, as published.
DEGREE_EVERY = 500


@dataclass(frozen=True)
class Options:
    """Options of training that this model adds."""

    uv_size: int = option(128, "texels per side of flashavatar's UV map", low=16, high=1024)


_place_gaussians = Operator(
    "flashavatar_gaussians",
    lambda outputs, rotation_base, scaling_base, positions: (
        torch.empty_like(positions),
        outputs.new_empty((*positions.shape[:2], 4)),
        torch.empty_like(positions),
    ),
    differentiable=3,
)


def encode_position(points: Tensor) -> Tensor:
    """(N, 3) meters -> (N, 51): x, sin(2^k x), cos(2^k x) for k = 0..7, without pi."""
    parts = [points]
    for power in range(FREQUENCIES):
        parts += [torch.sin(2.0**power * points), torch.cos(2.0**power * points)]
    return torch.cat(parts, -1)


class DeformationMlp(nn.Module):
    """The network alone, with the names of the published state dict: `fcs`, `output_linear`."""

    def __init__(self, condition_size: int) -> None:
        super().__init__()
        sizes = [ENCODED + condition_size] + [WIDTH] * HIDDEN
        self.fcs = nn.ModuleList(
            nn.Linear(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True)
        )
        self.output_linear = nn.Linear(WIDTH, OUTPUTS)

    def forward(self, encoded: Tensor, condition: Tensor) -> Tensor:
        """(N, 51) points and (B, C) codes -> (B, N, 10 or more), before the tanh.

        Outputs after the first ten are padding. The first layer is linear in [point | code]. Its
        halves are computed once per point and once per frame, and only their sum per point and
        frame. Layers are bfloat16 on a GPU, and in the parameters' precision on a CPU.
        """
        if encoded.is_cuda:
            return self.reduced(encoded, condition, torch.bfloat16)
        first = self.fcs[0]
        per_point = nn.functional.linear(encoded, first.weight[:, :ENCODED])
        per_frame = nn.functional.linear(condition, first.weight[:, ENCODED:], first.bias)
        hidden = torch.relu(per_point + per_frame[:, None])
        for layer in self.fcs[1:]:
            hidden = torch.relu(layer(hidden))
        return self.output_linear(hidden)

    def reduced(self, encoded: Tensor, condition: Tensor, dtype: torch.dtype) -> Tensor:
        """As `forward`, with the layers' operands in `dtype`.

        The code's half of the first layer is precomputed and selected by a one-hot frame input: a
        row is [point | one-hot frame], with weights [point | precomputed half per frame].
        """
        first, frames, points = self.fcs[0], len(condition), len(encoded)
        per_frame = nn.functional.linear(condition, first.weight[:, ENCODED:], first.bias)
        table = torch.cat([first.weight[:, :ENCODED], per_frame.t()], 1)
        padding = -table.shape[1] % 8
        one_hot = torch.eye(frames, frames + padding, dtype=dtype, device=encoded.device)
        rows = torch.cat(
            [
                encoded.to(dtype).expand(frames, -1, -1),
                one_hot[:, None].expand(-1, points, -1),
            ],
            -1,
        )
        last = self.output_linear
        extra = -OUTPUTS % 8
        out = relu_network(
            rows.flatten(0, 1),
            (nn.functional.pad(table, (0, padding)), torch.zeros_like(first.bias)),
            *((layer.weight, layer.bias) for layer in self.fcs[1:]),
            (
                nn.functional.pad(last.weight, (0, 0, 0, extra)),
                nn.functional.pad(last.bias, (0, extra)),
            ),
        )
        return out.unflatten(0, (frames, points))


class FlashAvatarDeformation(Deformation):
    """The paper's model over N anchors.

    Args:
        count: N.
        condition_size: numbers in a frame's code.
        degree: of the spherical harmonics in use.
    """

    name = "flashavatar"
    # Activations of each layer and inputs of the first layer, stored in half precision.
    bytes_per_gaussian = WIDTH * 2 * (HIDDEN + 2)
    # Neither `.frame` files nor checkpoints hold a trunk: the original poses a stiff neck.
    follows_trunk = False

    def __init__(self, count: int, condition_size: int, degree: int = DEGREE) -> None:
        super().__init__()
        self.mlp = DeformationMlp(condition_size)
        self.features_dc = nn.Parameter(torch.zeros(count, 1, 3))
        self.features_rest = nn.Parameter(torch.zeros(count, (DEGREE + 1) ** 2 - 1, 3))
        self.opacity = nn.Parameter(torch.zeros(count, 1))
        self.scaling_base = nn.Parameter(torch.zeros(count, 3))
        self.rotation_base = nn.Parameter(torch.zeros(count, 4))
        self.register_buffer("rest_positions", torch.zeros(count, 3))
        self.active_degree = degree
        self._encoding: tuple[Tensor, int, Tensor] | None = None

    def _encoded(self) -> Tensor:
        """(N, 51) encoded points, cached until the points change."""
        points = self.rest_positions
        known = self._encoding
        if known is None or known[0] is not points or known[1] != points._version:
            known = self._encoding = (points, points._version, encode_position(points))
        return known[2]

    @classmethod
    def make_anchors(cls, surface: HeadSurface, options: Options) -> Anchors:
        """The published points: one per texel of the UV map."""
        return texel_anchors(surface.head, options.uv_size)

    @classmethod
    def create(cls, count: int, condition_size: int, options: Options) -> Self:
        """See `Deformation.create`."""
        del options
        return cls(count, condition_size)

    def settings(self) -> dict[str, Any]:
        """See `Deformation.settings`."""
        size = self.mlp.fcs[0].weight.shape[1] - ENCODED
        return {
            "count": len(self.opacity),
            "condition_size": size,
            "degree": self.active_degree,
        }

    @torch.no_grad()
    def initialize(self, start: InitialState) -> None:
        """The published initialization, but with sampled colors instead of gray."""
        self.rest_positions.copy_(start.rest_positions)
        self.features_dc.copy_(constant_coefficient(start.colors)[:, None])
        self.opacity.fill_(torch.logit(torch.tensor(0.1)).item())
        self.scaling_base.copy_(start.spacing.clamp_min(1e-7**0.5).log()[:, None].expand(-1, 3))
        self.rotation_base.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(len(self.opacity), 4))
        self.active_degree = 0

    def advance(self, images: int) -> None:
        """Increase the degree of the harmonics with the number of images."""
        self.active_degree = min(DEGREE, images // DEGREE_EVERY)

    def forward(self, frames: FrameInputs) -> Gaussians:
        """See `Deformation.forward`; Gaussians do not rotate with their triangles here."""
        outputs = self.mlp(self._encoded(), frames.condition)
        means, quats, scales = _place_gaussians(
            outputs, self.rotation_base, self.scaling_base, frames.positions
        )
        colors = harmonic_colors(
            self.features_dc, self.features_rest, means, frames.camera_center, self.active_degree
        )
        return Gaussians(means, quats, scales, torch.sigmoid(self.opacity[:, 0]), colors)

    @torch.no_grad()
    def hide(self, hidden: Tensor) -> None:
        """See `Deformation.hide`."""
        self.opacity[hidden] = HIDDEN_LOGIT

    def parameter_groups(self, batch: int) -> list[dict[str, Any]]:
        """The published groups: the network's, then the Gaussians' by name.

        The published learning rates are for batch 1; they scale with the square root of the batch
        size.
        """
        groups: list[dict[str, Any]] = [
            {"name": "deform", "params": list(self.mlp.parameters()), "lr": 1e-4, "eps": 1e-8},
            {"name": "f_dc", "params": [self.features_dc], "lr": 0.0025, "eps": 1e-15},
            {"name": "f_rest", "params": [self.features_rest], "lr": 0.000125, "eps": 1e-15},
            {"name": "opacity", "params": [self.opacity], "lr": 0.05, "eps": 1e-15},
            {"name": "scaling", "params": [self.scaling_base], "lr": 0.005, "eps": 1e-15},
            {"name": "rotation", "params": [self.rotation_base], "lr": 0.001, "eps": 1e-15},
        ]
        for group in groups:
            group["lr"] *= math.sqrt(batch)
        return groups

    def regularization(self, gaussians: Gaussians) -> dict[str, Tensor]:
        """The paper has none."""
        del gaussians
        return {}

    def harmonics(self, gaussians: Gaussians) -> Tensor:
        """The coefficients of the degrees in use."""
        del gaussians
        used = (self.active_degree + 1) ** 2
        return torch.cat([self.features_dc, self.features_rest], 1)[:, :used]
