"""What deformation models owe the trainer and the renderer: one signature.

A model turns the code of each frame, and where its anchors lie in that frame, into Gaussians.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class FrameInputs:
    """A batch of B frames with N anchors, everything in the head's canonical frame.

    Attributes:
        condition: (B, C) the tracked code exp | jaw 6D | eyes 12 (two 6D, left first) | eyelids 2.
        head_pose: (B, 6) rotation of the head to the camera, 6D; a frontal head is the identity.
        positions: (B, N, 3) metres.
        rotations: (B, N, 4) unit quaternions of the anchors' triangles.
        camera_center: (B, 3) metres.
        jitter: (B, C + 6) what training adds to the code and pose, in their standard deviations;
            None outside of training.
    """

    condition: Tensor
    head_pose: Tensor
    positions: Tensor
    rotations: Tensor
    camera_center: Tensor
    jitter: Tensor | None = None


@dataclass(frozen=True)
class Gaussians:
    """What the rasterizer takes; leading (B,) or shared.

    Attributes:
        means: (B, N, 3) metres.
        quats: (B, N, 4) (w, x, y, z), any length.
        scales: (B, N, 3) or (N, 3) standard deviations, metres.
        opacities: (B, N) or (N,) in (0, 1).
        colors: (B, N, 3) or (N, 3), unclamped.
    """

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    colors: Tensor


@dataclass(frozen=True)
class Start:
    """What is known before training, from which a model sets its parameters.

    Attributes:
        rest_positions: (N, 3) anchors on the subject's neutral head, metres.
        spacing: (N,) distance to the nearest anchors, metres.
        colors: (N, 3) mean color seen at each anchor.
        opacities: (N,) in (0, 1).
        condition_mean: (C,) over the training frames.
        condition_scale: (C,) standard deviation, with a floor.
        condition_range: (2, C) lowest and highest value seen.
        pose_mean: (6,) mean head pose.
        pose_scale: (6,) its standard deviation, with a floor.
    """

    rest_positions: Tensor
    spacing: Tensor
    colors: Tensor
    opacities: Tensor
    condition_mean: Tensor
    condition_scale: Tensor
    condition_range: Tensor
    pose_mean: Tensor
    pose_scale: Tensor


class Deformation(nn.Module, ABC):
    """Base of the plug-ins: an `nn.Module` whose state dict, with `settings`, is the model."""

    name: ClassVar[str]

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Keyword arguments that build an empty model of the same shapes."""

    @abstractmethod
    def initialize(self, start: Start) -> None:
        """Set parameters and buffers before the first step; called once."""

    @abstractmethod
    def forward(self, frames: FrameInputs) -> Gaussians:
        """The Gaussians of a batch of frames."""

    @abstractmethod
    def parameter_groups(self, batch: int) -> list[dict[str, Any]]:
        """Adam's groups for steps of `batch` images, in a fixed order: name, params, lr, eps."""

    @abstractmethod
    def regularization(self, gaussians: Gaussians) -> dict[str, Tensor]:
        """Weighted penalty terms by name, each a scalar."""

    def advance(self, images: int) -> None:
        """Told before each step how many training images were seen; models may open up with it."""
        del images


def standardize(value: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """(B, C) -> zero mean and unit deviation over the training frames."""
    return torch.addcdiv(-mean / scale, value, scale.expand_as(value))
