"""Training recipes for benchmarks, and their held-out quality over time."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from benchmarks.clips import Clip, held_out_psnr
from headsplat.avatar import Avatar
from headsplat.frame_code import FrameCode
from headsplat.gaussians.deform.codes import POSE
from headsplat.train.lpips import Lpips
from headsplat.train.options import TrainOptions, train_options
from headsplat.train.plan import Plan, make_plan
from headsplat.train.prepare import empty_avatar, initialize, training_frames
from headsplat.train.run import FINAL_RATE, WARM_STEPS
from headsplat.train.step import HeadStep
from headsplat.train.trainer import Trainer


@dataclass(frozen=True)
class Recipe:
    """Options of a training, and its learning-rate schedule."""

    name: str
    options: TrainOptions
    warm: int = WARM_STEPS
    final: float = FINAL_RATE


@dataclass(frozen=True)
class Mark:
    """State of a training: images seen, seconds including set-up, held-out dB."""

    images: int
    seconds: float
    psnr: float


def flashavatar_recipe(images: int = 30000) -> Recipe:
    """FlashAvatar's published recipe without LPIPS (which lowers PSNR): batch 1, constant rates.

    One difference in its favor: colors are initialized from the images, not gray.
    """
    options = train_options(
        model="flashavatar",
        steps=images,
        batch=1,
        coarse_fraction=0.0,
        code_noise=0.0,
        lpips_weight=0.0,
    )
    return Recipe("FlashAvatar's recipe, batch 1", options, warm=1, final=1.0)


def our_recipe(images: int, **changes: object) -> Recipe:
    """The defaults of config/config.yaml for a number of training images."""
    options = train_options(**{"lpips_weight": 0.0, **changes})
    options = replace(options, steps=max(1, images // options.batch))
    return Recipe(f"{options.model}, batch {options.batch}", options)


def start(
    clip: Clip,
    recipe: Recipe,
    device: torch.device,
    lpips: Lpips | None = None,
    hair: Callable[[], np.ndarray | None] = lambda: None,
) -> Trainer:
    """An initialized training before its first step; `hair` as of `empty_avatar`."""
    step, plan = first_step(clip, recipe, device, lpips, hair)
    return Trainer(step, plan, recipe.options)


def first_step(
    clip: Clip,
    recipe: Recipe,
    device: torch.device,
    lpips: Lpips | None = None,
    hair: Callable[[], np.ndarray | None] = lambda: None,
) -> tuple[HeadStep, Plan]:
    """The step of an initialized training, and its plan; arguments as of `start`."""
    options, track = recipe.options, clip.track
    plan = make_plan(
        len(clip.training), options, FrameCode.size(clip.head) + POSE,
        (track.height, track.width), recipe.warm, recipe.final,
    )  # fmt: skip
    avatar = empty_avatar(clip.head, track, clip.training.numpy(), options, device, hair)
    frames = training_frames(avatar, track, clip.ids())
    images = clip.images()
    initialize(avatar, frames, images)
    return HeadStep(avatar, frames, images, plan, options, lpips), plan


def follow(
    clip: Clip,
    recipe: Recipe,
    device: torch.device,
    marks: int,
    lpips: Lpips | None = None,
    enough: Callable[[float], bool] = lambda psnr: False,
) -> tuple[Avatar, list[Mark]]:
    """Train to the end of a recipe, or until the held-out quality is reached.

    Set-up counts as training time; evaluation does not.
    """
    began = now(device)
    trainer = start(clip, recipe, device, lpips)
    seconds = now(device) - began
    seen = [Mark(0, seconds, held_out_psnr(trainer.avatar, clip))]
    steps = recipe.options.steps
    for mark in range(1, marks + 1):
        began = now(device)
        trainer.advance(mark * steps // marks)
        seconds += now(device) - began
        psnr = held_out_psnr(trainer.avatar, clip)
        seen.append(Mark(trainer.done * recipe.options.batch, seconds, psnr))
        if enough(psnr):
            break
    return trainer.avatar, seen


def now(device: torch.device) -> float:
    """Wall clock after the device has finished all queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def show(name: str, seen: list[Mark]) -> None:
    """Print one training."""
    print(name)
    for before, mark in zip([seen[0], *seen], seen, strict=False):
        passed = mark.seconds - before.seconds
        rate = (mark.images - before.images) / passed if passed else 0.0
        print(f"  {mark.images:8d} images {mark.seconds:7.2f} s {rate:9.1f} images/s "
              f"{mark.psnr:6.2f} dB", flush=True)  # fmt: skip
