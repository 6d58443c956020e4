"""How long until the held-out quality that the published recipe ends with, on the same clip.

    python benchmarks/time_to_quality.py --clip work/anna --head work/heads/ict.npz

Runs 30,000 batch-1 iterations of FlashAvatar's recipe through this project's own model of it, then
the default recipe until it is as good, and each model batched against batch 1 at equal images.
Meant for a GPU.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "workflow_scripts")]

from benchmarks.clips import Clip, prepared_clip, synthetic_clip  # noqa: E402
from benchmarks.recipes import flashavatar_recipe, follow, our_recipe, show  # noqa: E402
from benchmarks.training import BATCH, DEFAULT_HEAD, row, write  # noqa: E402
from headsplat.gaussians.raster.extension import serving_device  # noqa: E402
from headsplat.heads.model import HeadModel  # noqa: E402


def quality_rows(clip: Clip, device: torch.device, images: int) -> list[dict[str, Any]]:
    """Time to the published recipe's quality, and batched against batch 1."""
    published = flashavatar_recipe(images)
    _, seen = follow(clip, published, device, 3)
    show(published.name, seen)
    goal, peer_seconds = max(mark.psnr for mark in seen), seen[-1].seconds
    ours = our_recipe(48000)
    _, marks = follow(clip, ours, device, 24, enough=lambda psnr: psnr >= goal)
    show(f"{ours.name}, until {goal:.2f} dB", marks)
    reached = marks[-1].psnr >= goal
    rows = []
    if reached:
        rows.append(row(f"set-up and training until {goal:.2f} dB held out, {clip.name}",
                        marks[-1].seconds, "s", 30, peer_seconds,
                        peer_seconds / marks[-1].seconds))  # fmt: skip
        rows[-1]["peer"] = f"{published.name}, {images} images, as a graph"
    for model in ("blendshapes", "flashavatar"):
        best = {}
        for batch in (1, BATCH):
            recipe = our_recipe(images, model=model, batch=batch)
            _, seen = follow(clip, recipe, device, 2)
            show(recipe.name, seen)
            best[batch] = seen[-1].psnr
        what = f"held-out psnr_head, {model}, batch {BATCH}, {images} images, {clip.name}"
        ours = row(what, best[BATCH], "dB", None, best[1], best[BATCH] / best[1])
        rows.append(ours | {"peer": "the same at batch 1", "value": round(best[BATCH], 2),
                            "peer_value": round(best[1], 2)})  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--head", type=Path, default=ROOT / DEFAULT_HEAD)
    parser.add_argument("--clip", type=Path, help="a subject's folder under work/")
    parser.add_argument("--images", type=int, default=30000)
    parser.add_argument("--out", type=Path, help="folder of the JSON file")
    args = parser.parse_args()
    device = serving_device("auto")
    clip = (
        prepared_clip(args.clip, args.head, device)
        if args.clip
        else synthetic_clip(HeadModel.load(args.head), 512, device)
    )
    write(quality_rows(clip, device, args.images), args.out, "time_to_quality")


if __name__ == "__main__":
    main()
