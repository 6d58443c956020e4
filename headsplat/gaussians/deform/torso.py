"""The torso: a small set of Gaussians bound to the trunk's pose.

Every attribute is linear in nine numbers of the frame: how the neck is turned and shifted, and how
the trunk is turned to the camera. Cloth that the neck pulls and light on shoulders follow them.
Offsets and rotations are in the trunk's space, the head's canonical space with the neck at rest.
"""

import math
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from headsplat.gaussians.deform.base import Gaussians, standardize
from headsplat.gaussians.deform.blendshapes import (
    PER_GAUSSIAN,
    attribute_units,
    oversize,
    placed_gaussians,
    split_attributes,
)
from headsplat.rotations import quaternion_from_matrix
from headsplat.runtime.checks import as_float32

CODE = 9
# Margin of codes beyond the training range, in standard deviations of each number.
_MARGIN = 0.5
# Smallest standard deviation of turns (radians) and shifts (meters) that a code is divided by.
_TURN_FLOOR, _SHIFT_FLOOR = 0.02, 0.002
_LEAST_SCALE = 0.001  # of a saved torso
_OFFSET_PENALTY, _SCALE_PENALTY, _BASES_PENALTY = 1.0, 1e-3, 1e-5
_ARRAYS = ("rest", "weights", "code_mean", "code_scale", "code_range")


class Torso(nn.Module):
    """M Gaussians in trunk space.

    Args:
        count: M.

    Attributes:
        rest: (M, 3) meters, where the Gaussians started.
        weights: (1 + 9, M * 14) stored attributes: the base, then a change for each number of the
            code, laid out as in `headsplat.gaussians.deform.blendshapes`.
    """

    penalties = ("offset", "scale", "bases")

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        self.weights = nn.Parameter(torch.zeros(1 + CODE, count * PER_GAUSSIAN))
        self.register_buffer("rest", torch.zeros(count, 3))
        self.register_buffer("code_mean", torch.zeros(CODE))
        self.register_buffer("code_scale", torch.ones(CODE))
        self.register_buffer("code_range", torch.zeros(2, CODE))
        self.register_buffer("units", attribute_units(count), persistent=False)
        self.register_buffer("still", torch.eye(3, 4), persistent=False)
        self.register_buffer("facing", torch.tensor([[1.0], [-1], [-1]]), persistent=False)

    def code(self, rotation: Tensor, trunk: Tensor) -> Tensor:
        """(B, 9): neck turn and shift, trunk's turn to the camera; zero where frontal and at rest.

        Args:
            rotation: (B, 3, 3) head to OpenCV camera.
            trunk: (B, 3, 4) trunk to head, meters.
        """
        turn = trunk[..., :3]
        return torch.cat([_sines(turn), trunk[..., 3], _sines(self.facing * rotation @ turn)], 1)

    @torch.no_grad()
    def start(
        self,
        points: Tensor,
        quats: Tensor,
        spacing: Tensor,
        colors: Tensor,
        opacity: float,
        codes: Tensor,
    ) -> None:
        """Flat disks with the colors of the images; all changes zero.

        Args:
            points: (M, 3) meters in trunk space.
            quats: (M, 4) rotations whose third axis is the surface's normal.
            spacing: (M,) meters between neighbors.
            colors: (M, 3) in 0..1.
            opacity: of every disk.
            codes: (T, 9) codes of the training frames.
        """
        self.rest.copy_(points)
        floor = codes.new_tensor([_TURN_FLOOR] * 3 + [_SHIFT_FLOOR] * 3 + [_TURN_FLOOR] * 3)
        self.code_mean.copy_(codes.mean(0))
        self.code_scale.copy_(torch.maximum(codes.std(0, correction=0), floor))
        slack = _MARGIN * self.code_scale
        self.code_range.copy_(torch.stack([codes.amin(0) - slack, codes.amax(0) + slack]))
        self.weights.zero_()
        _, quat, log_scale, logit, color = split_attributes(self.weights[0], self.count)
        quat.copy_(quats)
        in_plane = spacing.log() - 0.2
        log_scale.copy_(torch.stack([in_plane, in_plane, in_plane - 1.0], -1))
        logit.fill_(math.log(opacity / (1 - opacity)))
        color.copy_(colors)
        self.weights[0] /= self.units

    def forward(
        self, rotation: Tensor, trunk: Tensor | None = None, code_noise: Tensor | None = None
    ) -> Gaussians:
        """The torso's Gaussians in the head's frame.

        Args:
            rotation: (B, 3, 3) head to OpenCV camera.
            trunk: (B, 3, 4) trunk to head, meters; None for a stiff neck.
            code_noise: (B, 9) noise on the standardized codes in training, or None.
        """
        batch = len(rotation)
        if trunk is None:
            trunk = self.still.expand(batch, 3, 4)
        code = self.code(rotation, trunk)
        code = torch.minimum(torch.maximum(code, self.code_range[0]), self.code_range[1])
        code = standardize(code, self.code_mean, self.code_scale)
        if code_noise is not None:
            code = code + code_noise
        mixed = torch.addmm(self.weights[0], code, self.weights[1:])
        turn, shift = trunk[..., :3], trunk[:, None, :, 3]
        positions = torch.baddbmm(shift, self.rest.expand(batch, -1, 3), turn.mT)
        quats = quaternion_from_matrix(turn)[:, None].expand(batch, self.count, 4)
        return placed_gaussians(mixed, positions, quats.contiguous())

    def parameter_groups(self, batch: int) -> list[dict[str, Any]]:
        """Adam's groups for steps of `batch` images, as `Deformation.parameter_groups`."""
        rate = 0.25 * math.sqrt(batch)
        return [{"name": "torso", "params": [self.weights], "lr": rate, "eps": 1e-12}]

    def regularization(self) -> dict[str, Tensor]:
        """Penalties on offsets from the start, on large scales, and on the changes."""
        base = split_attributes(self.weights[0] * self.units, self.count)
        return {
            "offset": _OFFSET_PENALTY * base[0].square().mean(),
            "scale": _SCALE_PENALTY * oversize(base[2]),
            "bases": _BASES_PENALTY * self.weights[1:].square().mean(),
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays that restore it."""
        return {name: getattr(self, name).detach().cpu().numpy() for name in _ARRAYS}

    @classmethod
    def restored(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """A torso of saved arrays.

        Raises:
            ValueError: an array is missing or damaged; says what was expected.
        """
        if set(arrays) != set(_ARRAYS):
            raise ValueError(f"expected the arrays {', '.join(_ARRAYS)}")
        rest = arrays["rest"]
        count = len(rest) if rest.ndim else 0
        shapes = ((count, 3), (1 + CODE, count * PER_GAUSSIAN), (CODE,), (CODE,), (2, CODE))
        state = {}
        for name, shape in zip(_ARRAYS, shapes, strict=True):
            value = arrays[name]
            single = as_float32(value) if value.shape == shape and value.dtype.kind == "f" else None
            if single is None:
                raise ValueError(f"expected finite numbers of shape {list(shape)} in '{name}'")
            state[name] = torch.from_numpy(single)
        if count == 0 or not (state["code_scale"] >= _LEAST_SCALE).all():
            raise ValueError(
                f"expected at least one Gaussian, and 'code_scale' of at least {_LEAST_SCALE:g}"
            )
        torso = cls(count)
        torso.load_state_dict(state)
        return torso.eval()


def _sines(rotation: Tensor) -> Tensor:
    """(B, 3, 3) -> (B, 3): the axis times the sine of the angle, smooth up to a quarter turn."""
    skew = (rotation - rotation.mT) / 2
    return torch.stack([skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]], 1)
