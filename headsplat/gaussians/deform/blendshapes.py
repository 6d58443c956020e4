"""Reduced Gaussian blendshapes: base attributes plus K learned bases mixed once per frame.

The idea of RGBAvatar (CVPR 2025): a small MLP turns the frame's code into K weights, and every
attribute of every Gaussian (offset, rotation, scale, opacity, color) is linear in them. Offsets
and rotations are in the frame of the anchor's triangle, so they follow the surface. The mixing is
one matrix product, thousands of times cheaper than an MLP per Gaussian.
"""

import math
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from headsplat.gaussians.deform.base import (
    HIDDEN_LOGIT,
    FrameInputs,
    Gaussians,
    InitialState,
)
from headsplat.gaussians.deform.coded import CodedDeformation
from headsplat.gaussians.deform.codes import POSE
from headsplat.gaussians.parts import EYEBALLS, LIDS, SKIN
from headsplat.gaussians.raster.operators import Operator
from headsplat.options import option

# Attributes in order of storage: numbers per Gaussian, and the unit of a stored number. Units let
# all attributes share one learning rate: at batch 4 an Adam step moves an offset by 0.2 mm and a
# color by 0.005.
LAYOUT: tuple[tuple[str, int, float], ...] = (
    ("offset", 3, 0.0004),
    ("quat", 4, 0.02),
    ("log_scale", 3, 0.02),
    ("opacity", 1, 0.05),
    ("color", 3, 0.01),
)
PER_GAUSSIAN = sum(size for _, size, _ in LAYOUT)
LARGEST_SCALE = 0.02  # meters; upper bound of scales, against large floaters
FREE_SCALE = 0.008  # meters; scales up to here are not penalized
# Weights of the penalties, relative to a Huber term of about 1e-3.
OFFSET_PENALTY, SCALE_PENALTY, BASES_PENALTY = 1.0, 1e-3, 1e-7
HIDDEN = 64
# The first bases follow the two lids alone: lids closed in few frames of a clip still learn how
# closed lids look, apart from everything else that changes in those frames.
LID_BASES = 2
# Depth of eyeball Gaussians below the eyeball, in meters, so that shut lids cover them.
EYEBALL_DEPTH = 0.0015


@dataclass(frozen=True)
class Options:
    """Options of training that this model adds."""

    gaussians: int = option(
        16000, "number of Gaussians of blendshapes and dynavatar", low=100, high=1000000
    )
    bases: int = option(20, "learned bases of blendshapes", low=1, high=200)


def _like_gaussians(mixed: Tensor, positions: Tensor, rotations: Tensor, *_: Any) -> Any:
    like = torch.empty_like
    opacities = positions.new_empty(positions.shape[:2])
    return like(positions), like(rotations), like(positions), opacities, like(positions)


# Mixed attributes and anchor frames -> Gaussians; see `cuda_ext/csrc/deformation.h`.
_place_gaussians = Operator("blendshape_gaussians", _like_gaussians, differentiable=1)


def attribute_units(count: int) -> Tensor:
    """(count * 14,) units of stored attributes."""
    return torch.cat([torch.full((count * size,), unit) for _, size, unit in LAYOUT])


def split_attributes(row: Tensor, count: int) -> list[Tensor]:
    """(..., count * 14) -> views (..., count, size) in the order of LAYOUT."""
    parts = row.split([count * size for _, size, _ in LAYOUT], -1)
    return [part.unflatten(-1, (count, -1)) for part in parts]


def placed_gaussians(mixed: Tensor, positions: Tensor, rotations: Tensor) -> Gaussians:
    """Gaussians of stored attributes (B, N * 14) at positions (B, N, 3), rotations (B, N, 4)."""
    units = [unit for _, _, unit in LAYOUT]
    return Gaussians(*_place_gaussians(mixed, positions, rotations, units, math.log(LARGEST_SCALE)))


def first_row(start: InitialState) -> Tensor:
    """(N * 14,) attributes in their own units: flat disks in the surface with sampled colors."""
    count = len(start.spacing)
    row = torch.zeros(count * PER_GAUSSIAN, device=start.spacing.device)
    _, quat, log_scale, opacity, color = split_attributes(row, count)
    quat[:, 0] = 1
    in_plane = start.spacing.log() - 0.2
    log_scale.copy_(torch.stack([in_plane, in_plane, in_plane - 1.0], -1))
    opacity.copy_(torch.logit(start.opacities)[:, None])
    color.copy_(start.colors)
    return row


def oversize(log_scale: Tensor) -> Tensor:
    """Mean squared excess of scales over `FREE_SCALE`, in logarithms."""
    return (log_scale - math.log(FREE_SCALE)).clamp_min(0).square().mean()


class BlendshapeDeformation(CodedDeformation):
    """Base plus K bases over N anchors; a code of C numbers.

    Args:
        count: Gaussians, N.
        condition_size: C.
        bases: K.
    """

    name = "blendshapes"
    penalties = ("offset", "scale", "bases")

    def __init__(self, count: int, condition_size: int, bases: int = 20) -> None:
        super().__init__(condition_size)
        self.count, self.bases = count, bases
        # Row 0 is the base, in the order of LAYOUT, each attribute contiguous over the Gaussians.
        self.weights = nn.Parameter(torch.zeros(1 + bases, count * PER_GAUSSIAN))
        self.hidden = nn.Linear(condition_size + POSE, HIDDEN)
        self.output = nn.Linear(HIDDEN, bases)
        self.linear = nn.Linear(condition_size + POSE, bases, bias=False)
        self.register_buffer("units", attribute_units(count), persistent=False)

    @classmethod
    def create(cls, count: int, condition_size: int, options: Options) -> Self:
        """See `Deformation.create`."""
        return cls(count, condition_size, options.bases)

    def settings(self) -> dict[str, Any]:
        """See `Deformation.settings`."""
        size = len(self.code_mean) - POSE
        return {"count": self.count, "condition_size": size, "bases": self.bases}

    @torch.no_grad()
    def initialize(self, start: InitialState) -> None:
        """Flat disks in the surface with sampled colors; bases are zero, but for growing lids."""
        self.keep_codes(start)
        self.weights[0] = first_row(start)
        self._split(self.weights[0])[0][start.parts == EYEBALLS, 2] -= EYEBALL_DEPTH
        self.weights[0] /= self.units
        if self.bases > LID_BASES:
            self._reserve_lids(start)
        # Zero weights with zero gradients stay zero, so a saved model needs no trace of this.
        frozen = self._frozen(start.parts)
        self.weights.register_hook(lambda gradient: gradient.masked_fill(frozen, 0))

    def _reserve_lids(self, start: InitialState) -> None:
        """Drive the first bases by the lids' codes alone; they begin as the triangles' growth."""
        lids = torch.arange(LID_BASES, device=self.weights.device)
        # The code ends with the lids, and the pose follows it.
        columns = len(self.code_mean) - POSE - LID_BASES + lids
        self.linear.weight[:LID_BASES] = 0
        self.linear.weight[lids, columns] = self.code_scale[columns]
        self.output.weight[:LID_BASES] = 0
        self.output.bias[:LID_BASES] = self.code_mean[columns]
        for parameter in (self.linear.weight, self.output.weight, self.output.bias):
            fixed = torch.zeros_like(parameter, dtype=torch.bool)
            fixed[:LID_BASES] = True
            parameter.register_hook(lambda gradient, fixed=fixed: gradient.masked_fill(fixed, 0))
        on_lids = (start.parts == LIDS)[:, None]
        for lid in range(LID_BASES):
            scales = self._split(self.weights[1 + lid])[2]
            scales[:, :2] = torch.where(on_lids, start.lid_growth[:, lid], 0.0)
            self.weights[1 + lid] /= self.units

    def _frozen(self, parts: Tensor) -> Tensor:
        """(1 + K, N * 14) bool, weights that do not learn; `parts` is (N,) as in `InitialState`.

        Eyeballs are rigid: they turn with the gaze as their triangles do, and only their color
        changes. Otherwise they would hide in frames with shut lids, and show through others.
        Lids deform by their own bases alone, and these reach no further than the eye region.
        """
        frozen = torch.zeros_like(self.weights, dtype=torch.bool)
        lid_bases = LID_BASES if self.bases > LID_BASES else 0
        for row in range(1 + self.bases):
            offset, quat, log_scale, opacity, color = self._split(frozen[row])
            shape = (offset, quat, log_scale, opacity)
            if row == 0:
                offset[parts == EYEBALLS, 2] = True
            elif row <= lid_bases:
                for attribute in (*shape, color):
                    attribute[parts == SKIN] = True
                for attribute in shape:
                    attribute[parts == EYEBALLS] = True
            else:
                for attribute in shape:
                    attribute[(parts == EYEBALLS) | ((parts == LIDS) & (lid_bases > 0))] = True
        return frozen

    def _split(self, row: Tensor) -> list[Tensor]:
        return split_attributes(row, self.count)

    def mixture(self, frames: FrameInputs) -> Tensor:
        """(B, K) weights of the bases."""
        code = self.code(frames)
        return self.linear(code) + self.output(torch.relu(self.hidden(code)))

    def forward(self, frames: FrameInputs) -> Gaussians:
        """See `Deformation.forward`."""
        mixed = torch.addmm(self.weights[0], self.mixture(frames), self.weights[1:])
        return placed_gaussians(mixed, frames.positions, frames.rotations)

    @torch.no_grad()
    def hide(self, hidden: Tensor) -> None:
        """See `Deformation.hide`."""
        opacity, units = (self._split(value)[3] for value in (self.weights, self.units))
        opacity[:, hidden] = 0
        opacity[0, hidden] = HIDDEN_LOGIT / units[hidden]

    def parameter_groups(self, batch: int) -> list[dict[str, Any]]:
        """All Gaussian attributes are one flat group, the small MLP another.

        Learning rates scale with the square root of the batch size.
        """
        network = [*self.hidden.parameters(), *self.output.parameters(), *self.linear.parameters()]
        return [
            {
                "name": "gaussians",
                "params": [self.weights],
                "lr": 0.25 * math.sqrt(batch),
                "eps": 1e-12,
            },
            {"name": "mixture", "params": network, "lr": 1e-3 * math.sqrt(batch), "eps": 1e-8},
        ]

    def regularization(self, gaussians: Gaussians) -> dict[str, Tensor]:
        """Penalties on offsets from the surface, on large scales, and on the size of the bases."""
        del gaussians
        base = self._split(self.weights[0] * self.units)
        return {
            "offset": OFFSET_PENALTY * base[0].square().mean(),
            "scale": SCALE_PENALTY * oversize(base[2]),
            "bases": BASES_PENALTY * self.weights[1:].square().mean(),
        }
