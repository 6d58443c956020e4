"""Interface of deformation models: frame codes and anchor poses to Gaussians.

A model is one module with a subclass of `Deformation` and, if it has options of its own, a
dataclass `Options` (`headsplat.options`). It is listed in `headsplat.gaussians.deform.registry`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from headsplat.gaussians.anchors import Anchors
from headsplat.gaussians.sh import constant_coefficient
from headsplat.heads.model import HeadModel

# Opacity, before the sigmoid, of a Gaussian that is hidden: the rasterizer leaves it out.
HIDDEN_LOGIT = -15.0
# Default margin of driving codes beyond the training range, in standard deviations.
CODE_LIMIT = 0.5


@dataclass(frozen=True)
class FrameInputs:
    """A batch of B frames with N anchors, everything in the head's canonical frame.

    Attributes:
        condition: (B, C) the tracked code exp | jaw 6D | eyes 12 (two 6D, left first) | eyelids 2.
        head_pose: (B, 6) rotation of the head to the camera, 6D; a frontal head is the identity.
        positions: (B, N, 3) meters.
        rotations: (B, N, 4) unit quaternions of the anchors' triangles.
        camera_center: (B, 3) meters.
        code_noise: (B, C + 6) noise that training adds to the standardized code and pose;
            None at inference.
    """

    condition: Tensor
    head_pose: Tensor
    positions: Tensor
    rotations: Tensor
    camera_center: Tensor
    code_noise: Tensor | None = None


@dataclass(frozen=True)
class Gaussians:
    """Input of the rasterizer, per frame (B, ...) or shared by all frames.

    Attributes:
        means: (B, N, 3) meters.
        quats: (B, N, 4) (w, x, y, z), any length.
        scales: (B, N, 3) or (N, 3) standard deviations, meters.
        opacities: (B, N) or (N,) in (0, 1).
        colors: (B, N, 3) or (N, 3), unclamped.
    """

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    colors: Tensor

    def joined(self, other: "Gaussians") -> "Gaussians":
        """These and other Gaussians of the same B frames, these first."""
        batch = len(self.means)

        def both(name: str) -> Tensor:
            parts = []
            for given in (getattr(self, name), getattr(other, name)):
                shared = given.dim() < (2 if name == "opacities" else 3)
                parts.append(given.expand(batch, *given.shape) if shared else given)
            return torch.cat(parts, 1)

        return Gaussians(*(both(item.name) for item in fields(self)))


@dataclass(frozen=True)
class InitialState:
    """Statistics of the training frames and anchors, from which a model initializes its parameters.

    Attributes:
        rest_positions: (N, 3) anchors on the subject's neutral head, meters.
        spacing: (N,) distance to the nearest anchors, meters.
        colors: (N, 3) mean color seen at each anchor.
        opacities: (N,) in (0, 1).
        condition_mean: (C,) over the training frames.
        condition_scale: (C,) standard deviation, with a floor.
        condition_range: (2, C) lowest and highest value.
        pose_mean: (6,) mean head pose.
        pose_scale: (6,) its standard deviation, with a floor.
        parts: (N,) long, see `headsplat.gaussians.parts`.
        lid_growth: (N, 2, 2) logarithm of the stretch of each anchor's triangle as the left and the
            right lid close, along its two in-plane axes.
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
    parts: Tensor
    lid_growth: Tensor


@dataclass(frozen=True)
class HeadSurface:
    """The surface that a model places its anchors on.

    Attributes:
        head: the head model.
        neutral: (V, 3) vertices of the subject's neutral head, meters.
        visibility: function that returns (F,) anchor density of each face: 1 if a training frame
            shows it, else small.
        hair: function that returns (V,) the height of hair above each vertex in meters, or None
            where it is not known.
    """

    head: HeadModel
    neutral: np.ndarray
    visibility: Callable[[], np.ndarray]
    hair: Callable[[], np.ndarray | None] = lambda: None


class Deformation(nn.Module, ABC):
    """Base class of deformation models; `settings` and the state dict restore a model.

    Attributes:
        name: the model's name in the registry.
        penalties: names of the terms that `regularization` returns.
        bytes_per_gaussian: memory of a training step per image and Gaussian, without the
            rasterizer, bytes.
        code_limit: margin of driving codes beyond the training range, in standard deviations of
            each entry.
        follows_trunk: whether the neck turns on the trunk's pose; else it is stiff under the head.
    """

    name: ClassVar[str]
    penalties: ClassVar[tuple[str, ...]] = ()
    bytes_per_gaussian: ClassVar[int] = 0
    code_limit: ClassVar[float] = CODE_LIMIT
    follows_trunk: ClassVar[bool] = True

    @classmethod
    @abstractmethod
    def make_anchors(cls, surface: HeadSurface, options: Any) -> Anchors:
        """Choose the N anchors; `options` is an instance of the module's `Options`."""

    @classmethod
    @abstractmethod
    def create(cls, count: int, condition_size: int, options: Any) -> Self:
        """An untrained model of N = `count` Gaussians; `options` as in `make_anchors`."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Keyword arguments that build an empty model of the same shapes."""

    @abstractmethod
    def initialize(self, start: InitialState) -> None:
        """Set parameters and buffers before the first step; called once."""

    @abstractmethod
    def forward(self, frames: FrameInputs) -> Gaussians:
        """The Gaussians of a batch of frames."""

    @abstractmethod
    def parameter_groups(self, batch: int) -> list[dict[str, Any]]:
        """Adam's groups for steps of `batch` images, in a fixed order: name, params, lr, eps."""

    @abstractmethod
    def regularization(self, gaussians: Gaussians) -> dict[str, Tensor]:
        """Weighted penalty terms, each a scalar; the names are those of `penalties`."""

    def hide(self, hidden: Tensor) -> None:
        """Make some Gaussians invisible in all frames, by `HIDDEN_LOGIT`.

        Called after training for those that no training frame shows. A model may ignore it.

        Args:
            hidden: (N,) bool.
        """
        del hidden

    def advance(self, images: int) -> None:
        """Called before each step with the number of training images seen so far."""
        del images

    def harmonics(self, gaussians: Gaussians) -> Tensor:
        """Spherical harmonics (N, k, 3) of one frame's colors, k = 1, 4, 9 or 16, for exports."""
        count = gaussians.means.shape[-2]
        return constant_coefficient(gaussians.colors.expand(1, count, 3)[0])[:, None]


def standardize(value: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """(B, C) -> zero mean and unit deviation over the training frames."""
    return torch.addcdiv(-mean / scale, value, scale.expand_as(value))
