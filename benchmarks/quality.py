"""Held-out quality of methods on clips: train each with several seeds and score all alike.

    python benchmarks/quality.py --head work/heads/HEAD.npz --clips work/CLIP ...
        [--methods default flashavatar wasserstein=jitter+wasserstein_weight=0.03]
        [--official NAME=FOLDER] [--seeds 3] [--images 48000] [--sheets FOLDER] [--out FILE]

A clip is a subject's folder under `work/`, complete up to its masks and split. A method is
`default`, a deformation model, `refit`, or options of training as `name=value`, joined by `+`. All
methods see the same images. A result is written when its run ends, so that the same command
continues after a crash.

`refit` solves all frames on the trained avatar's renders, and trains again on the new track.
Held-out frames are then scored three times: on their old track, which used none of their images;
on the new one; and by the first avatar on the new one.

`--official` scores renders of any other tool: FOLDER/CLIP/00001.png for each held-out frame id, of
the clip's size, on black or with alpha.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "workflow_scripts")]

from benchmarks.clips import Clip, prepared_clip  # noqa: E402
from benchmarks.quality_sheet import write_sheet  # noqa: E402
from benchmarks.rasterizer import machine  # noqa: E402
from benchmarks.recipes import first_step, now, our_recipe  # noqa: E402
from headsplat.avatar import Avatar  # noqa: E402
from headsplat.evaluate.eyes import eye_boxes, eyes_closed  # noqa: E402
from headsplat.evaluate.measures import means, measures  # noqa: E402
from headsplat.evaluate.pairs import HALF, Batch  # noqa: E402
from headsplat.frames.images import decode_image  # noqa: E402
from headsplat.gaussians.deform.registry import MODELS  # noqa: E402
from headsplat.gaussians.raster.extension import serving_device  # noqa: E402
from headsplat.metrics import psnr_head  # noqa: E402
from headsplat.refit.solve import Refit  # noqa: E402
from headsplat.runtime.errors import UserError  # noqa: E402
from headsplat.runtime.files import read_json, write_json  # noqa: E402
from headsplat.track import Track  # noqa: E402
from headsplat.train.run import find_lpips  # noqa: E402
from headsplat.train.trainer import Trainer  # noqa: E402
from headsplat.train.unseen import unseen  # noqa: E402

OUT = ROOT / "benchmarks/results/quality.json"
BATCH = 8
TRAINING_SAMPLE = 48  # training frames that are measured
REFIT = "refit"
# (B,) long rows of the clip -> (B, H, W, 3) renders on black.
Render = Callable[[Tensor], Tensor]


def options_of(method: str) -> dict[str, Any]:
    """Options of training that a method's name stands for.

    Raises:
        UserError: a word is neither `default`, nor a model, nor an option.
    """
    options: dict[str, Any] = {}
    for word in method.split("+"):
        name, _, value = word.partition("=")
        if value:
            options[name] = yaml.safe_load(value)
        elif word in MODELS:
            options["model"] = word
        elif word not in ("default", REFIT):
            raise UserError(f"method '{method}': '{word}' is no model; options are name=value")
    return options


def batches(clip: Clip, rows: Tensor, render: Render) -> Iterator[Batch]:
    """Ground truth and renders of some rows of a clip, for `measures`."""
    track = clip.track
    for some in rows.split(BATCH):
        ground_truth, mask = clip.ground_truth(some)
        planes = clip.planes.index_select(0, some.to(clip.planes.device))
        yield Batch(
            [int(track.ids[row]) for row in some], ground_truth, render(some), mask,
            (planes[..., 4] > HALF).float(), planes[..., :3],
        )  # fmt: skip


def score(clip: Clip, render: Render, lpips: Any = None) -> dict[str, float]:
    """Metrics of the held-out frames, as in metrics.json."""
    found: dict[str, list[float]] = {}
    previous = None
    held_out = clip.track[clip.held_out.numpy()]
    boxes = eye_boxes(clip.head, held_out).split(BATCH)
    for batch, eyes in zip(batches(clip, clip.held_out, render), boxes, strict=True):
        for name, values in measures(previous, batch, eyes, lpips).items():
            found.setdefault(name, []).extend(values)
        previous = batch
    arrays = {name: np.array(values) for name, values in found.items()}
    return means(arrays, eyes_closed(held_out))


def training_psnr(clip: Clip, render: Render) -> float:
    """Mean `psnr_head` of training frames spread over the clip, dB."""
    rows = clip.training[:: max(1, len(clip.training) // TRAINING_SAMPLE)]
    values = [psnr_head(b.ground_truth, b.render, b.mask) for b in batches(clip, rows, render)]
    return torch.cat(values).mean().item()


@dataclass(frozen=True)
class Trained:
    """Renders to score, on the clip whose track they used, and facts about the training."""

    method: str
    clip: Clip
    render: Render
    facts: dict[str, Any]


def train(clip: Clip, method: str, seed: int, images: int, device: torch.device) -> list[Trained]:
    """Train a method; of `refit` three results (see above)."""
    first, facts = avatar_of(clip, method, seed, images, device)
    if REFIT not in method.split("+"):
        return [Trained(method, clip, renders(first, clip), facts)]
    began = now(device)
    usable = np.zeros(len(clip.track), bool)
    usable[torch.cat([clip.training, clip.held_out]).numpy()] = True
    track = Refit(first, clip.track, usable, lambda rows: clip.planes[rows]).solve()
    solved = replace(clip, track=track)
    facts = {**facts, "refit_seconds": round(now(device) - began, 2)}
    second, again = avatar_of(solved, method, seed, images, device)
    held_out = clip.held_out.numpy()
    mixed = replace(clip, track=with_rows(track, clip.track, held_out))
    facts["seconds"] = round(facts["seconds"] + facts["refit_seconds"] + again["seconds"], 2)
    return [
        Trained(method, mixed, renders(second, mixed), facts),
        Trained(f"{method}, held-out frames fitted", solved, renders(second, solved), facts),
        Trained(f"{method}, fitted only", solved, renders(first, solved), facts),
    ]


def with_rows(track: Track, other: Track, rows: np.ndarray) -> Track:
    """A track whose rows are taken from another one."""
    values = {}
    for item in fields(track):
        value = getattr(track, item.name)
        if isinstance(value, np.ndarray) and len(value) == len(track) and item.name != "shape":
            values[item.name] = np.array(value)
            values[item.name][rows] = getattr(other, item.name)[rows]
    return replace(track, **values)


def avatar_of(
    clip: Clip, method: str, seed: int, images: int, device: torch.device
) -> tuple[Avatar, dict[str, Any]]:
    """A trained avatar, and facts about its training."""
    recipe = our_recipe(images, seed=seed, **options_of(method))
    began = now(device)
    step, plan = first_step(clip, recipe, device)
    Trainer(step, plan, recipe.options).advance(recipe.options.steps)
    step.avatar.deformation.hide(unseen(step))
    seconds = round(now(device) - began, 2)
    return step.avatar, {"seconds": seconds, "gaussians": len(step.avatar.anchors)}


def renders(avatar: Avatar, clip: Clip) -> Render:
    """Renders of a clip's frames by an avatar."""
    return lambda rows: avatar.render(clip.track[rows.numpy()], (0, 0, 0))


def official(folder: Path, clip: Clip) -> Render:
    """Renders of another tool, as PNG files named by frame id.

    Raises:
        UserError: an image is missing, cannot be read or has another size.
    """
    track = clip.track
    files = {int(row): folder / f"{int(track.ids[row]):05d}.png" for row in clip.held_out}
    missing = [path.name for path in files.values() if not path.is_file()]
    if missing:
        raise UserError(
            f"{folder}: {len(missing)} of {len(files)} held-out frames are missing, {missing[0]} "
            "is the first; render every frame id of split.json's test"
        )

    def read(row: int) -> Tensor:
        image = decode_image(files[row].read_bytes(), str(files[row])).astype(np.float32) / 255
        if image.shape != (track.height, track.width, 3):
            raise UserError(
                f"{files[row]}: {image.shape[1]}x{image.shape[0]} pixels instead of "
                f"{track.width}x{track.height} in color; render at the clip's size"
            )
        return torch.from_numpy(image)

    device = clip.planes.device
    return lambda rows: torch.stack([read(int(row)) for row in rows]).to(device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--head", type=Path, required=True, help="head model .npz of all clips")
    parser.add_argument("--clips", type=Path, nargs="+", required=True, help="folders under work/")
    parser.add_argument("--methods", nargs="*", default=["default", "flashavatar"])
    parser.add_argument("--official", nargs="*", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=48000, help="training images of a run")
    parser.add_argument("--sheets", type=Path, help="folder for one PNG of frames a clip")
    parser.add_argument("--assets", type=Path, default=ROOT / "assets", help="LPIPS weights")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    device = serving_device(args.device)
    runs = read_json(args.out) if args.out.exists() else []
    done = {(run["clip"], run["method"], run["seed"], run["images"]) for run in runs}
    folders = dict(item.split("=", 1) for item in args.official)
    wanted = [(method, seed) for method in args.methods for seed in range(args.seeds)]
    for method in args.methods:
        our_recipe(args.images, **options_of(method))  # refuse a wrong name before any training
    lpips = find_lpips(our_recipe(1, lpips_weight=1.0).options, args.assets, device)
    for work in args.clips:
        clip, shown = prepared_clip(work, args.head, device), {}
        for method, seed in [*wanted, *((name, 0) for name in folders)]:
            images = 0 if method in folders else args.images
            if (work.name, method, seed, images) in done:
                continue
            if method in folders:
                render = official(Path(folders[method]) / work.name, clip)
                results = [Trained(method, clip, render, {})]
            else:
                results = train(clip, method, seed, images, device)
            for result in results:
                found = score(result.clip, result.render, lpips)
                if method not in folders:
                    found["psnr_head_train"] = training_psnr(result.clip, result.render)
                shown.setdefault(result.method, result.render)
                facts = result.facts | {"machine": machine(), "metrics": rounded(found)}
                run = {"clip": work.name, "method": result.method, "seed": seed, "images": images}
                runs.append(run | facts)
                print(f"{work.name:12s} {result.method:36s} seed {seed}: "
                      f"{found['psnr_head']:.2f} dB", flush=True)  # fmt: skip
            write_json(args.out, runs)
        if args.sheets and shown:
            write_sheet(args.sheets / f"{work.name}.png", clip, shown)


def rounded(values: dict[str, float]) -> dict[str, float]:
    """The values with five digits."""
    return {name: float(f"{value:.5g}") for name, value in values.items()}


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
