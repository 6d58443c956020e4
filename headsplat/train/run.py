"""The stage `train_avatar`: head, track, split and packed images to a trained avatar."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from headsplat.avatar import Avatar
from headsplat.avatar_files import save_avatar
from headsplat.frame_code import FrameCode
from headsplat.gaussians.deform.codes import POSE
from headsplat.gaussians.raster.extension import serving_device
from headsplat.heads.model import HeadModel
from headsplat.runtime.device import memory_advice
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import publish_folder, read_json, write_json
from headsplat.runtime.logs import log
from headsplat.runtime.process import available_threads
from headsplat.runtime.scratch import Scratch, state_key
from headsplat.track import read_track
from headsplat.train.checkpoint_formats import CHECKPOINTS
from headsplat.train.dataset import ImageReader, PersonReader, open_images
from headsplat.train.hair import hair_heights
from headsplat.train.lpips import BACKBONE_FILE, LINEAR_FILE, Lpips, load_lpips
from headsplat.train.memory import training_mib
from headsplat.train.options import TORSO, TrainOptions
from headsplat.train.plan import make_plan
from headsplat.train.prepare import empty_avatar, initialize, training_frames
from headsplat.train.step import HeadStep, term_names
from headsplat.train.torso import train_torso
from headsplat.train.torso_start import require_body
from headsplat.train.trainer import TRACE_FILE, Outcome, Trainer
from headsplat.train.unseen import unseen

# Warm-up steps of the learning rates, and their final factor.
WARM_STEPS, FINAL_RATE = 20, 0.03
_CURVE_POINTS = 300


def image_limit(device: torch.device, cache_mib: int, gpu_percent: int) -> int:
    """Memory limit of images on the training device, MiB: on a GPU a share of the free memory."""
    if device.type == "cpu":
        return cache_mib
    free, _ = torch.cuda.mem_get_info(device)
    return free * gpu_percent // 100 // 2**20


def train_avatar(
    head_path: Path,
    track_path: Path,
    split_path: Path,
    frames: Sequence[Path],
    alpha: Sequence[Path],
    parsing: Sequence[Path],
    scratch_root: Path,
    out: Path,
    options: TrainOptions,
    assets: Path,
    device_name: str,
    cache_mib: int,
    gpu_percent: int,
    code: str,
    checkpoint: Path | None = None,
) -> None:
    """Train an avatar and publish `out`; an interrupted run with the same key is resumed.

    Args:
        head_path: head model `.npz`.
        track_path: `track.npz`.
        split_path: `split.json`; only its `train` ids are used.
        frames: packed crops.
        alpha: packed mattes.
        parsing: packed head and mouth masks.
        scratch_root: folder of resumable state.
        out: folder to publish.
        options: training options.
        assets: folder where LPIPS weights may lie.
        device_name: auto, cpu or cuda.
        cache_mib: limit of decoded images in host memory, MiB.
        gpu_percent: percentage of free GPU memory for images; it affects their placement only, not
            results.
        code: version of the code, part of the key.
        checkpoint: FlashAvatar's `chkpntN.pth` to continue from, with its parameters and Adam
            moments, at full resolution; None to initialize from the images.

    Raises:
        UserError: an input cannot be used, or training failed.
    """
    torch.set_num_threads(available_threads())
    device = serving_device(device_name)
    head = HeadModel.load(head_path)
    track = read_track(track_path, head)
    ids = [int(frame) for frame in read_json(split_path)["train"]]
    if len(ids) < 2:
        raise UserError(
            f"{split_path}: {len(ids)} training frames, at least 2 are needed; split again"
        )
    start = None
    published = CHECKPOINTS[options.model].load() if options.model in CHECKPOINTS else None
    if checkpoint is not None:
        if published is None:
            raise UserError(
                f"{checkpoint}: the model {options.model} cannot go on from a checkpoint; "
                f"set train.model to {' or '.join(CHECKPOINTS)}"
            )
        start = published.read(checkpoint, head, options.own)
        options = replace(options, coarse_fraction=0.0)
    lpips = find_lpips(options, assets, device)
    parameters = options.values() | {"lpips_used": lpips is not None, "device": device.type}
    inputs = [head_path, track_path, split_path, *frames, *alpha, *parsing]
    inputs += [] if checkpoint is None else [checkpoint]
    scratch = Scratch(scratch_root, state_key(inputs, parameters, code))

    size = (track.height, track.width)
    code_size = FrameCode.size(head) + POSE
    plan = make_plan(len(ids), options, code_size, size, WARM_STEPS, FINAL_RATE)
    reader = ImageReader(frames, alpha, parsing, track.width, track.height)
    hair = lambda: hair_heights(head, track, ids, reader)  # noqa: E731
    avatar = empty_avatar(head, track, track.rows(ids), options, device, hair)
    if options.body == TORSO:
        require_body(PersonReader(reader), ids)
    limit = image_limit(device, cache_mib, gpu_percent)
    need = training_mib(avatar, options, len(ids), size, lpips is not None, limit)
    if device.type == "cuda":
        log.info("memory of the GPU that training takes, estimated: %.0f MiB", need)
    try:
        images = open_images(reader, ids, plan.rows, device, limit, cache_mib)
        training = training_frames(avatar, track, ids)
        if start is None:
            initialize(avatar, training, images)
        else:
            published.load(avatar, start)
            log.info("going on from %s, after %d images", checkpoint, start.iteration)
        step = HeadStep(avatar, training, images, plan, options, lpips)
        trainer = Trainer(step, plan, options, start)
        outcome = trainer.run(scratch.folder, keep=options.body == TORSO)
        images.close()
        if start is None:
            avatar.deformation.hide(unseen(step))
        facts = training_summary(outcome, options, avatar, (track.width, track.height), len(ids))
        if start is not None:
            facts["checkpoint"] = {"file": checkpoint.name, "iteration": start.iteration}
        with torch.no_grad():
            last = step.gaussians(plan.rows[-1, :1].to(device)).means[0]
        if options.body == TORSO:
            del images, trainer, step  # their memory is the torso's now
            facts["torso"] = train_torso(
                avatar, training, reader, options, (WARM_STEPS, FINAL_RATE),
                lambda person, rows: open_images(person, ids, rows, device, limit, cache_mib),
                scratch.folder,
            )  # fmt: skip
    except torch.OutOfMemoryError as error:
        raise memory_advice(error, need, f"train.batch (now {options.batch})") from error
    reader.close()

    avatar.facts = {key: value for key, value in facts.items() if key != "losses"}
    with publish_folder(out) as folder:
        save_avatar(folder, avatar, head_path, track_path)
        write_json(folder / "training.json", facts)
        if outcome.profile:
            shutil.copyfile(scratch.folder / TRACE_FILE, folder / TRACE_FILE)
        if published is not None:
            images_seen = options.steps * options.batch + (start.iteration if start else 0)
            published.save(
                folder, avatar.deformation, last, outcome.optimizer, images_seen,
                avatar.centered,
            )  # fmt: skip
    scratch.clear()


def find_lpips(options: TrainOptions, assets: Path, device: torch.device) -> Lpips | None:
    """Load LPIPS if the options enable it and its weights exist."""
    if options.lpips_weight <= 0:
        return None
    half = device.type == "cuda"
    lpips = load_lpips(assets, device, torch.bfloat16 if half else torch.float32)
    if lpips is None:
        log.info("LPIPS is skipped: %s and %s are not in %s", BACKBONE_FILE, LINEAR_FILE, assets)
    return lpips


def training_summary(
    outcome: Outcome,
    options: TrainOptions,
    avatar: Avatar,
    size: tuple[int, int],
    frames: int,
) -> dict[str, Any]:
    """Content of `training.json`: options, sizes, time, and downsampled loss curves."""
    steps, batch = outcome.per_image.shape
    curves = {"total": downsample(outcome.per_image.mean(1))}
    for column, name in enumerate(term_names(avatar.deformation)):
        if outcome.terms[:, column].any():
            curves[name] = downsample(outcome.terms[:, column])
    profile = {}
    if outcome.profile:
        parts = dict(outcome.profile)
        profile["profile"] = {
            "steps": max(1, options.profile_steps - 1),  # the first only warms up
            "wall_us": parts.pop("wall"),
            "parts_us": parts,
            "trace": TRACE_FILE,
        }
    return {
        "model": options.model,
        "gaussians": len(avatar.anchors),
        "steps": steps,
        "batch": batch,
        "images": steps * batch,
        "frames": frames,
        "size": list(size),
        "seconds": round(outcome.seconds, 2),
        "images_per_second": round(steps * batch / outcome.seconds, 2),
        "device": avatar.device.type,
        "device_name": torch.cuda.get_device_name(avatar.device)
        if avatar.device.type == "cuda"
        else f"cpu, {torch.get_num_threads()} threads",
        "options": options.values(),
        "losses": curves,
    } | profile


def downsample(values: Tensor) -> list[list[float]]:
    """(S,) -> at most 300 pairs [step, mean since the previous pair]."""
    edges = sorted({int(v) for v in torch.linspace(0, len(values), _CURVE_POINTS + 1)})
    return [
        [end, float(f"{values[start:end].mean().item():.5g}")]
        for start, end in zip(edges[:-1], edges[1:], strict=True)
    ]
