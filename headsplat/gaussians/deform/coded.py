"""Deformation models whose input is a frame's code and the head's pose."""

from typing import Any

import torch
from torch import Tensor

from headsplat.gaussians.anchors import Anchors, sample_anchors
from headsplat.gaussians.deform.base import (
    Deformation,
    FrameInputs,
    HeadSurface,
    InitialState,
    standardize,
)
from headsplat.gaussians.deform.codes import POSE


class CodedDeformation(Deformation):
    """Base of models that see a frame as C numbers of its code and 6 of the head's pose.

    The light is static while the head turns, so the head's rotation is part of the input.

    Args:
        condition_size: C.
    """

    def __init__(self, condition_size: int) -> None:
        super().__init__()
        self.register_buffer("code_mean", torch.zeros(condition_size + POSE))
        self.register_buffer("code_scale", torch.ones(condition_size + POSE))
        self.register_buffer("code_range", torch.zeros(2, condition_size + POSE))

    @classmethod
    def make_anchors(cls, surface: HeadSurface, options: Any) -> Anchors:
        """Surface samples, `options.gaussians` of them, denser where training frames show them."""
        return sample_anchors(
            surface.head, surface.neutral, options.gaussians, surface.visibility(),
            hair=surface.hair(),
        )  # fmt: skip

    def keep_codes(self, start: InitialState) -> None:
        """Store what the codes of the training frames are like."""
        self.code_mean.copy_(torch.cat([start.condition_mean, start.pose_mean]))
        self.code_scale.copy_(torch.cat([start.condition_scale, start.pose_scale]))
        wide = torch.full((2, POSE), 1.0, device=start.pose_mean.device)
        wide[0] = -1
        low_high = torch.cat([start.condition_range, wide], 1)
        slack = self.code_limit * self.code_scale
        self.code_range.copy_(torch.stack([low_high[0] - slack, low_high[1] + slack]))

    def code(self, frames: FrameInputs) -> Tensor:
        """(B, C + 6) standardized input; codes far outside of training are clamped."""
        code = torch.cat([frames.condition, frames.head_pose], -1)
        code = torch.minimum(torch.maximum(code, self.code_range[0]), self.code_range[1])
        code = standardize(code, self.code_mean, self.code_scale)
        return code if frames.code_noise is None else code + frames.code_noise
