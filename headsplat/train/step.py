"""One training step: deform, rasterize, compute the loss, update the parameters.

All data of a step, including its number, is on the device. On a GPU one captured CUDA graph
therefore runs all steps of a phase (`headsplat.runtime.cuda_graph`).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from headsplat.avatar import Avatar
from headsplat.gaussians.deform.base import Deformation, Gaussians
from headsplat.gaussians.deform.codes import head_pose_6d
from headsplat.gaussians.deform.torso import Torso
from headsplat.gaussians.raster.gaussians import InstanceBudget
from headsplat.metrics import ssim
from headsplat.train.crops import crop_images, crop_size, random_crops
from headsplat.train.dataset import ResidentImages, StreamedImages
from headsplat.train.initialize import noise_sizes
from headsplat.train.losses import composite, image_loss
from headsplat.train.lpips import Lpips
from headsplat.train.options import TrainOptions
from headsplat.train.plan import Plan
from headsplat.train.prepare import TrainingFrames

# Loss terms of the images; the penalties of the deformation model follow them.
TERMS = ("huber", "ssim", "lpips")
# Initial Gaussian-strip pairs per Gaussian; the budget grows if that is too few.
_FIRST_PAIRS = 8


def term_names(deformation: Deformation) -> tuple[str, ...]:
    """Names of all loss terms: those of the images, then the model's penalties.

    Raises:
        TypeError: the model declares a name twice, or the name of an image term.
    """
    names = (*TERMS, *deformation.penalties)
    if len(set(names)) != len(names):
        raise TypeError(f"{deformation.name}: penalties {deformation.penalties} repeat a name")
    return names


@dataclass(frozen=True)
class Phase:
    """Constants of a training step that the host chooses.

    Attributes:
        reduction: 2 in the coarse steps (half resolution), then 1.
        settings: settings of the deformation, which may change during training (progressive
            harmonics).
    """

    reduction: int
    settings: tuple[tuple[str, Any], ...]


class TrainingStep(ABC):
    """The step of one run, which trains the head or the torso of an avatar.

    Args:
        model: the part of the avatar that is trained in place.
        avatar: the avatar.
        frames: the training frames by row.
        images: their images.
        plan: random draws of each step.
        options: training options.
        names: names of the K loss terms.
        name: what is trained, for the log.
        count: Gaussians that are trained.
        drawn: Gaussians that are drawn, those of other parts among them.

    Attributes:
        name: what is trained, for the log.
        count: Gaussians that are trained.
        cursor: (1,) long, the number of the next step.
        per_image: (S, B) loss of each image of each finished step.
        terms: (S, K) weighted loss terms.
        budget: the rasterizer's pair budget, None on a CPU.
    """

    def __init__(
        self,
        model: Deformation | Torso,
        avatar: Avatar,
        frames: TrainingFrames,
        images: ResidentImages | StreamedImages,
        plan: Plan,
        options: TrainOptions,
        names: tuple[str, ...],
        name: str,
        count: int,
        drawn: int,
    ) -> None:
        self.model, self.avatar, self.frames, self.images = model, avatar, frames, images
        self.options, self.names, self.name, self.count = options, names, name, count
        device = avatar.device
        self._tables = (
            plan.rows.to(device), plan.backgrounds.to(device), plan.code_noise.to(device),
            plan.corners.to(device),
        )  # fmt: skip
        self._rates = torch.tensor(plan.rates, device=device)
        steps, self.batch = plan.rows.shape
        groups = model.parameter_groups(self.batch)
        self._base_rates = torch.tensor([group["lr"] for group in groups], device=device)
        self._now = self._base_rates.clone()
        self.optimizer = torch.optim.Adam(groups, fused=True, capturable=device.type == "cuda")
        self._bind_rates()
        self.cursor = torch.zeros(1, dtype=torch.long, device=device)
        self.per_image = torch.zeros(steps, self.batch, device=device)
        self.terms = torch.zeros(steps, len(self.names), device=device)
        first_pairs = _FIRST_PAIRS * drawn
        self.budget = InstanceBudget(first_pairs, device) if device.type == "cuda" else None

    def _bind_rates(self) -> None:
        # Adam reads its learning rates from device tensors, which the step fills by its number.
        for index, group in enumerate(self.optimizer.param_groups):
            group["lr"] = self._now[index]

    def load_optimizer(self, state: dict[str, Any]) -> None:
        """Load Adam's state."""
        self.optimizer.load_state_dict(state)
        self._bind_rates()

    def phase(self, step: int) -> Phase:
        """The phase of a step; also advances the deformation to it."""
        coarse = step < self.options.coarse_fraction * len(self.per_image)
        return Phase(2 if coarse else 1, self._settings(step))

    def __call__(self, phase: Phase) -> None:
        """Run the step at the cursor and advance the cursor, without synchronization."""
        torch.mul(self._base_rates, self._rates[self.cursor], out=self._now)
        self.optimizer.zero_grad(set_to_none=True)
        rows = self._tables[0][self.cursor][0]
        each, penalties = self._loss(phase, rows)
        per_image = sum(each.values()) * self.frames.weight[rows]
        sum(penalties.values(), per_image.mean()).backward()
        self.optimizer.step()
        terms = {name: value.mean() for name, value in each.items()}
        self._note(per_image.detach(), terms | penalties)
        self.cursor += 1

    def _note(self, per_image: Tensor, terms: dict[str, Tensor]) -> None:
        none = per_image.new_zeros(())
        row = torch.stack([terms[name].detach() if name in terms else none for name in self.names])
        self.per_image.index_copy_(0, self.cursor, per_image[None])
        self.terms.index_copy_(0, self.cursor, row[None])

    def _draw(self, gaussians: Gaussians, rows: Tensor, background: Tensor, phase: Phase) -> Tensor:
        """(B, H, W, 3) render of training frames, (B,) long rows, in the size of the phase."""
        frames = self.frames
        intrinsics = (frames.intrinsics / phase.reduction).expand(len(rows), 4).contiguous()
        height, width = (size // phase.reduction for size in self.images.planes.shape[1:3])
        image, _ = self.avatar.rasterize(
            gaussians, frames.rotation[rows], frames.translation[rows], intrinsics, width, height,
            background, self.budget,
        )  # fmt: skip
        return image

    def _drawn(self) -> tuple[Tensor, ...]:
        """The step's backgrounds, noise and corners."""
        return tuple(table[self.cursor][0] for table in self._tables[1:])

    @abstractmethod
    def _settings(self, step: int) -> tuple[tuple[str, Any], ...]:
        """Settings of the deformation in a step."""

    @abstractmethod
    def _loss(self, phase: Phase, rows: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """(B,) loss terms of the images by name; penalties on the parameters, scalars."""


class HeadStep(TrainingStep):
    """The step that trains the deformation of an avatar.

    Args:
        avatar: the avatar; its deformation is trained in place.
        frames: the training frames by row.
        images: their images.
        plan: random draws of each step.
        options: training options.
        lpips: LPIPS, or None.
    """

    def __init__(
        self,
        avatar: Avatar,
        frames: TrainingFrames,
        images: ResidentImages | StreamedImages,
        plan: Plan,
        options: TrainOptions,
        lpips: Lpips | None,
    ) -> None:
        self._lpips = lpips
        sizes = noise_sizes(frames.condition, head_pose_6d(frames.rotation)).cpu()
        plan = replace(plan, code_noise=plan.code_noise * sizes)
        super().__init__(
            avatar.deformation, avatar, frames, images, plan, options,
            term_names(avatar.deformation), options.model, len(avatar.anchors),
            len(avatar.anchors),
        )  # fmt: skip

    def _settings(self, step: int) -> tuple[tuple[str, Any], ...]:
        self.model.advance(step * self.batch)
        return tuple(self.model.settings().items())

    def gaussians(self, rows: Tensor, code_noise: Tensor | None = None) -> Gaussians:
        """Gaussians of training frames, (B,) long rows, with or without noise on the codes."""
        frames = self.frames
        inputs = self.avatar.inputs(
            frames.condition[rows],
            frames.vertices[rows],
            frames.rotation[rows],
            frames.translation[rows],
        )
        return self.model(replace(inputs, code_noise=code_noise))

    def _loss(self, phase: Phase, rows: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        options, images = self.options, self.images
        background, code_noise, corners = self._drawn()
        gaussians = self.gaussians(rows, code_noise)
        image = self._draw(gaussians, rows, background, phase)
        places = images.places(rows)
        each = {
            "huber": image_loss(
                image, images.planes, places, background, options.mouth_weight, phase.reduction
            )
        }
        if phase.reduction == 1:
            if options.ssim_weight > 0:
                target = _target(images.planes[places], background)
                each["ssim"] = options.ssim_weight * (1 - ssim(target, image))
            if self._lpips is not None:
                size = crop_size(*image.shape[1:3])
                target = _target(crop_images(images.planes, places, corners, size), background)
                crops = random_crops(image, corners, size)
                each["lpips"] = options.lpips_weight * self._lpips(crops, target)
        penalties = self.model.regularization(gaussians)
        if penalties.keys() != set(self.names[len(TERMS) :]):
            raise TypeError(
                f"{self.model.name}: penalties {list(penalties)}, declared "
                f"{self.names[len(TERMS) :]}"
            )
        return each, penalties


def _target(planes: Tensor, background: Tensor) -> Tensor:
    """(B, H, W, 5) bytes -> (B, H, W, 3): head composited over the background."""
    values = planes[..., :4].float() / 255
    return composite(values[..., :3], values[..., 3], background)
