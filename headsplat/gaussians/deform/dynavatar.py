"""DynAvatar's expression-guided deformation (Wu et al. 2025), on anchors of the head's surface.

What is kept of the published system: the frame's code enters every layer of the network, each
Gaussian has codes of its own (spatial context), displacements are bases times these codes, and a
small network makes turn, scale, opacity and color of the displacement. What the anchors already do
is left out: skinning, the growth of the point set, and the losses that fit FLAME's blendshapes.

For Gaussian i with encoded rest position e_i, and a frame's standardized code and pose c:

    h_i = a(W_0 e_i + U_0 c), then three times h_i = a(W_l h_i + U_l c)       a: SiLU
    psi_i = P c + S_2 a(S_1 h_i + T c)                        32 codes of its own
    d_i = B(e_i) psi_i                                        displacement in the triangle's frame
    attributes_i = base_i + A(d_i without gradient, psi_i)    turn, scale, opacity, color

Differences from the published code: the products with c are computed once per frame, each layer
has weights of its own, and the context corrects the tracked codes instead of replacing them.
"""

import math
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from headsplat.gaussians.deform.base import (
    HIDDEN_LOGIT,
    FrameInputs,
    Gaussians,
    InitialState,
)
from headsplat.gaussians.deform.blendshapes import (
    LAYOUT,
    OFFSET_PENALTY,
    PER_GAUSSIAN,
    SCALE_PENALTY,
    attribute_units,
    first_row,
    oversize,
    placed_gaussians,
    split_attributes,
)
from headsplat.gaussians.deform.coded import CodedDeformation
from headsplat.gaussians.deform.codes import POSE
from headsplat.gaussians.deform.flashavatar import ENCODED, encode_position
from headsplat.options import option

WIDTH, LAYERS, CODES, ATTRIBUTES = 128, 4, 32, 64
# Numbers of a Gaussian that the attribute network makes: all but the offset.
CHANGED = PER_GAUSSIAN - 3
# Stored units (`LAYOUT`) that an output of 1 stands for.
GAIN = 10.0
# Parts of the model, each with those before it; for ablations.
HOST, CONDITION, CONTEXT, ALL = "host", "condition", "context", "all"
PARTS = (HOST, CONDITION, CONTEXT, ALL)


@dataclass(frozen=True)
class Options:
    """Options of training that this model adds."""

    gaussians: int = option(
        16000, "number of Gaussians of blendshapes and dynavatar", low=100, high=1000000
    )
    dynavatar_parts: str = option(
        "all",
        "parts of dynavatar, each with those before it: host (the code enters the first layer), "
        "condition (every layer), context (codes of each Gaussian), all (attributes change too)",
        choices=("host", "condition", "context", "all"),
    )


class DynAvatarDeformation(CodedDeformation):
    """N Gaussians; a code of C numbers.

    Args:
        count: N.
        condition_size: C.
        parts: one of `PARTS`.

    Raises:
        ValueError: no such parts.
    """

    name = "dynavatar"
    penalties = ("offset", "scale")
    # Activations of the trunk and of the two small networks, and their gradients.
    bytes_per_gaussian = 4 * 2 * (2 * LAYERS * WIDTH + 2 * WIDTH + 2 * CODES + 4 * ATTRIBUTES)

    def __init__(self, count: int, condition_size: int, parts: str = ALL) -> None:
        super().__init__(condition_size)
        if parts not in PARTS:
            raise ValueError(f"parts: expected one of {', '.join(PARTS)}, got {parts}")
        self.count, self.parts = count, parts
        code = condition_size + POSE
        self.base = nn.Parameter(torch.zeros(count * PER_GAUSSIAN))
        sizes = [ENCODED] + [WIDTH] * LAYERS
        pairs = zip(sizes[:-1], sizes[1:], strict=True)
        self.trunk = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in pairs)
        conditioned = 1 if parts == HOST else LAYERS
        self.condition = nn.ModuleList(nn.Linear(code, WIDTH) for _ in range(conditioned))
        zero = []
        if parts in (HOST, CONDITION):
            self.displacement = nn.Linear(WIDTH, 3, bias=False)
            zero.append(self.displacement)
        else:
            self.codes = nn.Linear(code, CODES)
            self.context = nn.Linear(WIDTH, WIDTH, bias=False)
            self.context_code = nn.Linear(code, WIDTH)
            self.context_output = nn.Linear(WIDTH, CODES, bias=False)
            self.bases_hidden = nn.Linear(ENCODED, WIDTH)
            self.bases_output = nn.Linear(WIDTH, 3 * CODES, bias=False)
            zero += [self.context_output, self.bases_output]
        if parts == ALL:
            self.attributes_hidden = nn.Linear(3 + CODES, ATTRIBUTES)
            self.attributes_middle = nn.Linear(ATTRIBUTES, ATTRIBUTES)
            self.attributes_output = nn.Linear(ATTRIBUTES, CHANGED, bias=False)
            zero.append(self.attributes_output)
        for last in zero:
            nn.init.zeros_(last.weight)
        self.register_buffer("encoded", torch.zeros(count, ENCODED))
        self.register_buffer("shown", torch.ones(count))
        self.register_buffer("units", attribute_units(count), persistent=False)

    @classmethod
    def create(cls, count: int, condition_size: int, options: Options) -> Self:
        """See `Deformation.create`."""
        return cls(count, condition_size, options.dynavatar_parts)

    def settings(self) -> dict[str, Any]:
        """See `Deformation.settings`."""
        size = len(self.code_mean) - POSE
        return {"count": self.count, "condition_size": size, "parts": self.parts}

    @torch.no_grad()
    def initialize(self, start: InitialState) -> None:
        """Flat disks in the surface with sampled colors, which nothing moves yet."""
        self.keep_codes(start)
        self.base.copy_(first_row(start) / self.units)
        # Positions of a head span about one unit, as the encoding expects.
        middle = start.rest_positions.mean(0)
        reach = (start.rest_positions - middle).abs().max()
        self.encoded.copy_(encode_position((start.rest_positions - middle) / reach))

    def forward(self, frames: FrameInputs) -> Gaussians:
        """See `Deformation.forward`."""
        code = self.code(frames)
        trunk = self._trunk(code)
        if self.parts in (HOST, CONDITION):
            moved = self.displacement(trunk)
        else:
            psi = self._own_codes(code, trunk)
            bases = self.bases_output(silu(self.bases_hidden(self.encoded)))
            moved = torch.einsum("nck,bnk->bnc", bases.view(-1, 3, CODES), psi)
        if self.parts == ALL:
            inner = silu(self.attributes_hidden(torch.cat([moved.detach(), psi], -1)))
            changed = self.attributes_output(silu(self.attributes_middle(inner)))
        else:
            changed = moved.new_zeros(*moved.shape[:2], CHANGED)
        sizes = [size for _, size, _ in LAYOUT[1:]]
        quat, log_scale, opacity, color = changed.split(sizes, -1)
        opacity = opacity * self.shown[:, None]
        delta = [part.flatten(1) for part in (moved, quat, log_scale, opacity, color)]
        mixed = self.base + GAIN * torch.cat(delta, 1)
        return placed_gaussians(mixed, frames.positions, frames.rotations)

    def _trunk(self, code: Tensor) -> Tensor:
        """(B, N, 128) features of each Gaussian in each frame."""
        hidden = self.encoded
        for number, layer in enumerate(self.trunk):
            hidden = layer(hidden)
            if number < len(self.condition):
                hidden = hidden + self.condition[number](code)[:, None]
            hidden = silu(hidden)
        return hidden

    def _own_codes(self, code: Tensor, trunk: Tensor) -> Tensor:
        """(B, N, 32) codes of each Gaussian: the frame's, corrected by the Gaussian's place."""
        hidden = silu(self.context(trunk) + self.context_code(code)[:, None])
        return self.codes(code)[:, None] + self.context_output(hidden)

    @torch.no_grad()
    def hide(self, hidden: Tensor) -> None:
        """See `Deformation.hide`."""
        opacity, units = (split_attributes(v, self.count)[3] for v in (self.base, self.units))
        opacity[hidden] = HIDDEN_LOGIT / units[hidden]
        self.shown[hidden] = 0

    def parameter_groups(self, batch: int) -> list[dict[str, Any]]:
        """The Gaussians' own attributes, and the networks; rates as of `blendshapes`."""
        networks = [value for name, value in self.named_parameters() if name != "base"]
        root = math.sqrt(batch)
        return [
            {"name": "gaussians", "params": [self.base], "lr": 0.25 * root, "eps": 1e-12},
            {"name": "networks", "params": networks, "lr": 5e-4 * root, "eps": 1e-8},
        ]

    def regularization(self, gaussians: Gaussians) -> dict[str, Tensor]:
        """Penalties on the base's offsets from the surface and on large scales."""
        del gaussians
        base = split_attributes(self.base * self.units, self.count)
        return {
            "offset": OFFSET_PENALTY * base[0].square().mean(),
            "scale": SCALE_PENALTY * oversize(base[2]),
        }
