"""Measure what the trunk, the masks, hair and the torso give on real clips.

Per clip and seed, variants are trained with the same images and options. Held-out frames are scored
against the clip's masks and, with --old-masks, against those of another version of the code, which
two further variants are also trained on. Also measured: speed with and without the torso, how well
the trunk's pose explains optical flow, and jumps of the masks' lower edge. Writes body.json, whose
entry of each measured clip is replaced, and sheets of held-out frames on white and black: ground
truth, the first variant, and the last.

    python benchmarks/body.py --clip work/SUBJECT ... --head work/heads/HEAD.npz
        [--old-masks FOLDER] [--seeds 3] [--variants new ...] [--frames ID ...] [--out FOLDER]

FOLDER of --old-masks holds SUBJECT/alpha and SUBJECT/parsing.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "workflow_scripts"), str(ROOT)]

from benchmarks.body_clips import BATCH, NEW, OLD, BodyClip, load_clip, write_sheets  # noqa: E402
from benchmarks.neck_cut import measured  # noqa: E402
from benchmarks.rasterizer import machine  # noqa: E402
from benchmarks.recipes import our_recipe, start  # noqa: E402
from benchmarks.rendering import CPU, FRAMES, GPU, batched_rate, percentiles  # noqa: E402
from benchmarks.trunk_residual import trunk_residuals  # noqa: E402
from headsplat.avatar import Avatar, moving_parts  # noqa: E402
from headsplat.gaussians.raster.extension import serving_device  # noqa: E402
from headsplat.masks.trunk_view import TrunkView  # noqa: E402
from headsplat.metrics import frame_metrics, person_metrics  # noqa: E402
from headsplat.render import FrameRenderer  # noqa: E402
from headsplat.runtime.process import available_threads  # noqa: E402
from headsplat.train.hair import hair_heights  # noqa: E402
from headsplat.train.options import NONE, TORSO  # noqa: E402
from headsplat.train.prepare import training_frames  # noqa: E402
from headsplat.train.run import FINAL_RATE, WARM_STEPS  # noqa: E402
from headsplat.train.torso import train_torso  # noqa: E402

HEAD_METRICS, PERSON_METRICS = ("psnr_head", "psnr_edge"), ("psnr_full", "psnr_collar")
# Frames of a batch when rates are measured; frames in a sheet.
RATE_BATCH, SHEET = 64, 4


@dataclass(frozen=True)
class Variant:
    """One way of training: which masks, whether the neck turns, hair layers, and a torso."""

    masks: str
    trunk: bool
    hair: bool
    body: str


# From before to now. `old` and `old_trunk` need old masks.
VARIANTS = {
    "old": Variant(OLD, False, False, NONE),
    "old_trunk": Variant(OLD, True, False, NONE),
    "stiff": Variant(NEW, False, False, TORSO),
    "trunk": Variant(NEW, True, False, NONE),
    "new": Variant(NEW, True, True, TORSO),
}


def trained(clip: BodyClip, variant: Variant, seed: int, images: int, batch: int) -> Avatar:
    """An avatar of one variant."""
    masks = clip.masks[variant.masks]
    device = masks.planes.device
    part = clip.clip(variant.masks, variant.trunk)
    recipe = our_recipe(images, seed=seed, batch=batch, body=variant.body)

    def hair() -> np.ndarray | None:
        if not variant.hair:
            return None
        return hair_heights(clip.head, part.track, part.ids(), masks.reader)

    trainer = start(part, recipe, device, hair=hair)
    trainer.advance(trainer.steps)
    avatar = trainer.avatar
    if variant.body == TORSO:
        frames = training_frames(avatar, part.track, part.ids())
        with tempfile.TemporaryDirectory() as scratch:
            train_torso(
                avatar, frames, masks.reader, recipe.options, (WARM_STEPS, FINAL_RATE),
                lambda *_: masks.person_images(clip.training), Path(scratch),
            )  # fmt: skip
    return avatar


@torch.no_grad()
def scored(clip: BodyClip, avatar: Avatar, variant: Variant) -> dict[str, float]:
    """Means over the held-out frames; those against old masks are called `old_...`."""
    values: dict[str, list[Tensor]] = {}

    def keep(found: dict[str, Tensor], names: Sequence[str], prefix: str = "") -> None:
        for name in names:
            values.setdefault(prefix + name, []).append(found[name])

    head, _ = clip.draw(avatar, variant.trunk, clip.held_out, head_only=True)
    whole = head
    if avatar.torso is not None:
        whole, _ = clip.draw(avatar, variant.trunk, clip.held_out, head_only=False)
    parts = (value.split(BATCH) for value in (clip.held_out, head, whole))
    for rows, drawn, person in zip(*parts, strict=True):
        for name, masks in clip.masks.items():
            ground_truth, mask = masks.head(rows)
            prefix = "old_" if name == OLD else ""
            keep(frame_metrics(ground_truth, drawn, mask), HEAD_METRICS, prefix)
        if avatar.torso is not None:
            ground_truth, matte = clip.masks[NEW].person(rows)
            mask = clip.masks[NEW].head(rows)[1]
            found = person_metrics(ground_truth, person, (matte > 0.5).float(), mask)
            keep(found, PERSON_METRICS)
    return {name: torch.cat(value).double().mean().item() for name, value in values.items()}


def rates(clip: BodyClip, avatar: Avatar) -> dict[str, float]:
    """Frames per second of the head alone and with the torso, single and in batches."""
    track, device = clip.track, avatar.device
    load = replace(GPU, batch=RATE_BATCH) if device.type == "cuda" else CPU
    some = np.arange(FRAMES) % len(track)
    codes = list(moving_parts(track[some].frames()))
    camera = track.width, track.height, track.intrinsics(), torch.zeros(3)
    found = {}
    for name, head_only in (("head", True), ("torso", False)):
        single, many = (FrameRenderer(avatar, n, *camera, head_only) for n in (1, load.batch))
        one = lambda k, single=single: single.render(*(v[k : k + 1] for v in codes))  # noqa: E731
        found[f"single_{name}"] = 1 / percentiles(one, load, device)[0]
        found[f"batched_{name}"] = batched_rate(many, codes, load)
    return found | {
        f"{kind}_slower": found[f"{kind}_head"] / found[f"{kind}_torso"]
        for kind in ("single", "batched")
    }


def steadiness(clip: BodyClip) -> dict[str, Any]:
    """How well the trunk's pose explains the images, and how the masks' lower edge jumps."""
    view = TrunkView(clip.head, clip.folder / "track" / "track.npz")
    edges = {name: measured(view, part.alpha, part.parsing) for name, part in clip.masks.items()}
    poses = clip.head, clip.track, clip.folder / "frames", clip.masks[NEW].alpha
    return {"cut": edges, "trunk": trunk_residuals(*poses)}


def sheet_rows(clip: BodyClip, frames: Sequence[int]) -> Tensor:
    """Rows of the frames of the sheets: those named, else some of the held-out ones."""
    if frames:
        return torch.from_numpy(clip.track.rows(list(frames)))
    spread = (torch.arange(SHEET) + 0.5) * len(clip.held_out) / SHEET
    return clip.held_out[spread.long()]


def run(clip: BodyClip, names: Sequence[str], args: argparse.Namespace) -> dict[str, Any]:
    """Everything about one clip."""
    rows = sheet_rows(clip, args.frames)
    shown = [clip.masks[NEW].person(rows)]
    result: dict[str, Any] = {
        "machine": machine(), "images": args.images, "held_out": len(clip.held_out), "scores": {},
    } | steadiness(clip)  # fmt: skip
    print(json.dumps({k: result[k] for k in ("cut", "trunk")}), flush=True)
    for seed in range(args.seeds):
        for name in names:
            begun, variant = time.perf_counter(), VARIANTS[name]
            avatar = trained(clip, variant, seed, args.images, args.batch)
            spent = time.perf_counter() - begun
            found = scored(clip, avatar, variant)
            for metric, value in found.items():
                result["scores"].setdefault(name, {}).setdefault(metric, []).append(value)
            text = "  ".join(f"{metric} {value:.2f}" for metric, value in found.items())
            print(f"{clip.folder.name} {name:10s} seed {seed}: {text}  ({spent:.0f} s)", flush=True)
            if seed == 0 and name in (names[0], names[-1]):
                shown.append(clip.draw(avatar, variant.trunk, rows, head_only=False))
            if seed == 0 and name == "new":
                result["rates"] = rates(clip, avatar)
                print(json.dumps(result["rates"]), flush=True)
        if seed == 0:
            write_sheets(shown, f"body_{clip.folder.name}", args.out)
        write(clip.folder.name, result, args.out)
    return result


def write(name: str, result: dict[str, Any], folder: Path) -> None:
    """Put one clip's results into body.json."""
    path = folder / "body.json"
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(content | {name: result}, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clip", type=Path, nargs="+", required=True, help="folders under work/")
    parser.add_argument("--head", type=Path, required=True, help="their head model .npz")
    parser.add_argument("--old-masks", type=Path, help="folder of SUBJECT/alpha and /parsing")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, help="all by default")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=48000, help="training images")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--frames", type=int, nargs="*", default=[], help="ids in the sheets")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    args = parser.parse_args()
    torch.set_num_threads(available_threads())
    device = serving_device("auto")
    args.out.mkdir(parents=True, exist_ok=True)
    usable = [n for n, v in VARIANTS.items() if v.masks == NEW or args.old_masks is not None]
    names = args.variants or usable
    if set(names) - set(usable):
        parser.error("variants of old masks need --old-masks")
    for folder in args.clip:
        old = None if args.old_masks is None else args.old_masks / folder.name
        run(load_clip(folder, args.head, device, old), names, args)


if __name__ == "__main__":
    main()
