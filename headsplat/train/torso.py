"""Training of the torso after that of the head, which it does not change.

The torso's Gaussians are drawn together with the head's, and the image is compared with the whole
person. Only the torso learns.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from headsplat.avatar import Avatar
from headsplat.gaussians.deform.torso import CODE, Torso
from headsplat.heads.bust import bust
from headsplat.heads.skinning import HeadGeometry
from headsplat.train.dataset import (
    ImageReader,
    PersonReader,
    ResidentImages,
    StreamedImages,
)
from headsplat.train.initialize import POSE_NOISE
from headsplat.train.losses import image_loss
from headsplat.train.options import TrainOptions
from headsplat.train.plan import Plan, make_plan
from headsplat.train.prepare import TrainingFrames
from headsplat.train.step import Phase, TrainingStep
from headsplat.train.torso_start import FEWEST, torso_points
from headsplat.train.trainer import Outcome, Trainer

# Gaussians and steps relative to the head's.
GAUSSIAN_SHARE, STEP_SHARE = 0.5, 0.4
# Weight of a pixel outside of the head mask beyond that of one inside.
OUTSIDE_WEIGHT = 4.0
_FIRST_OPACITY = 0.9
_FOLDER = "torso"  # of the checkpoint, in that of the head


class TorsoStep(TrainingStep):
    """The step that trains an avatar's torso; arguments as of `HeadStep`.

    Args:
        trunk: (T, 3, 4) trunk to head of the training frames.
    """

    def __init__(
        self,
        avatar: Avatar,
        frames: TrainingFrames,
        trunk: Tensor,
        images: ResidentImages | StreamedImages,
        plan: Plan,
        options: TrainOptions,
    ) -> None:
        self._trunk = trunk
        plan = replace(plan, code_noise=plan.code_noise * POSE_NOISE)
        super().__init__(
            avatar.torso, avatar, frames, images, plan, options,
            ("huber", *Torso.penalties), "torso", avatar.torso.count, avatar.count,
        )  # fmt: skip

    def _settings(self, step: int) -> tuple[tuple[str, Any], ...]:
        del step
        return ()

    def _loss(self, phase: Phase, rows: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        background, code_noise, _ = self._drawn()
        frames = self.frames
        rotation, translation = frames.rotation[rows], frames.translation[rows]
        with torch.no_grad():
            head = self.avatar.deformation(
                self.avatar.inputs(
                    frames.condition[rows], frames.vertices[rows], rotation, translation
                )
            )
        gaussians = head.joined(self.model(rotation, self._trunk[rows], code_noise))
        image = self._draw(gaussians, rows, background, phase)
        places = self.images.places(rows)
        loss = image_loss(
            image, self.images.planes, places, background, OUTSIDE_WEIGHT, phase.reduction
        )
        return {"huber": loss}, self.model.regularization()


def start_torso(
    avatar: Avatar,
    frames: TrainingFrames,
    trunk: Tensor,
    images: ResidentImages | StreamedImages,
    count: int,
) -> Torso:
    """An untrained torso of at most `count` Gaussians.

    Raises:
        UserError: the mattes show nothing of the person outside of the head.
    """
    neutral = HeadGeometry(avatar.head).shaped(avatar.shape.cpu()).numpy()
    points = torso_points(bust(avatar.head, neutral), frames, trunk, images, count)
    torso = Torso(len(points.places)).to(avatar.device)
    codes = torso.code(frames.rotation, trunk)
    torso.start(
        points.places, points.quats(), points.spacing(), points.colors, _FIRST_OPACITY, codes
    )
    return torso


def torso_size(avatar: Avatar) -> int:
    """Gaussians that the torso of an avatar has at most."""
    return max(FEWEST, round(GAUSSIAN_SHARE * len(avatar.anchors)))


def train_torso(
    avatar: Avatar,
    frames: TrainingFrames,
    reader: ImageReader,
    options: TrainOptions,
    schedule: tuple[int, float],
    open_person: Callable[[PersonReader, Tensor], ResidentImages | StreamedImages],
    scratch: Path,
) -> dict[str, Any]:
    """Give a trained avatar its torso; an interrupted run is resumed.

    Args:
        avatar: with the trained head.
        frames: the training frames.
        reader: their images and masks.
        options: of the head's training.
        schedule: warm-up steps and final factor of the learning rates.
        open_person: (reader, rows of each step) -> images.
        scratch: folder of the head's checkpoint.

    Returns:
        Facts of the training for `training.json`.

    Raises:
        UserError: the mattes show nothing outside of the head, or training failed.
    """
    size = (reader.height, reader.width)
    own = replace(
        options, steps=max(1, round(STEP_SHARE * options.steps)), profile_steps=0, lpips_weight=0.0
    )
    plan = make_plan(len(frames.ids), own, CODE, size, *schedule)
    trunk = frames.trunk
    if trunk is None:
        trunk = torch.eye(3, 4, device=avatar.device).expand(len(frames.ids), 3, 4)
    images = open_person(PersonReader(reader), plan.rows)
    avatar.torso = start_torso(avatar, frames, trunk, images, torso_size(avatar))
    trainer = Trainer(TorsoStep(avatar, frames, trunk, images, plan, own), plan, own)
    folder = scratch / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    outcome = trainer.run(folder)
    images.close()
    avatar.torso.eval()
    return _facts(outcome, avatar)


def _facts(outcome: Outcome, avatar: Avatar) -> dict[str, Any]:
    steps, batch = outcome.per_image.shape
    last = outcome.per_image[-max(1, steps // 10) :].mean().item()
    return {
        "gaussians": avatar.torso.count,
        "steps": steps,
        "batch": batch,
        "seconds": round(outcome.seconds, 2),
        "loss": float(f"{last:.5g}"),
    }
