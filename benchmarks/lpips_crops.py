"""Compare LPIPS on random half-size crops with LPIPS on whole images.

    python benchmarks/lpips_crops.py --clip work/anna --head work/heads/ict.npz

Trains the default model three times on equal numbers of images: without LPIPS, on whole images and
on crops. Measures held-out PSNR and the whole image's distance in single precision. VGG has random
weights, so the distance is perceptual in form only; both runs are evaluated by the one they were
trained on. Needs a GPU; on a CPU it takes hours.
"""

import argparse
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "workflow_scripts")]

from benchmarks.clips import Clip, prepared_clip, synthetic_clip  # noqa: E402
from benchmarks.random_lpips import random_lpips  # noqa: E402
from benchmarks.recipes import follow, our_recipe, show  # noqa: E402
from benchmarks.training import DEFAULT_HEAD, row, write  # noqa: E402
from headsplat.avatar import Avatar  # noqa: E402
from headsplat.gaussians.raster.extension import serving_device  # noqa: E402
from headsplat.heads.model import HeadModel  # noqa: E402
from headsplat.train import plan, step  # noqa: E402
from headsplat.train.lpips import Lpips  # noqa: E402


@torch.no_grad()
def held_out_lpips(avatar: Avatar, clip: Clip, lpips: Lpips) -> float:
    """Mean distance of the held-out frames on black."""
    track, values = clip.track, []
    for rows in clip.held_out.split(4):
        color = avatar.render(track[rows.numpy()], (0, 0, 0))
        values.append(lpips(color, clip.ground_truth(rows)[0]))
    return torch.cat(values).mean().item()


def whole(height: int, width: int) -> int:
    """Crop function that returns the whole of a square image."""
    return min(height, width)


def rows_of(clip: Clip, device: torch.device, images: int, weight: float) -> list[dict[str, Any]]:
    """Quality of each variant, and the difference that crops make."""
    judge, trained = random_lpips(device, torch.float32), random_lpips(device, torch.bfloat16)
    found = {}
    recipe = our_recipe(images, batch=16, lpips_weight=weight)
    for name, size, distance in (
        ("none", None, None), ("whole images", whole, trained), ("crops", None, trained)
    ):  # fmt: skip
        with patch.object(step, "crop_size", size or step.crop_size), \
             patch.object(plan, "crop_size", size or plan.crop_size):  # fmt: skip
            avatar, seen = follow(clip, recipe, device, 2, distance)
        found[name] = (seen[-1].psnr, held_out_lpips(avatar, clip, judge))
        show(f"LPIPS: {name}; distance {found[name][1]:.5f}", seen)
    rows = []
    for index, (what, unit) in enumerate((("psnr_head", "dB"), ("LPIPS, random VGG, x1000", ""))):
        scale = 1 if index == 0 else 1000
        values = {name: scale * value[index] for name, value in found.items()}
        for name in ("crops", "none"):
            rows.append(row(f"held-out {what}, LPIPS on {name}, {images} images, {clip.name}",
                            values[name], unit, None, values["whole images"],
                            values[name] / values["whole images"]))  # fmt: skip
            rows[-1]["peer"] = "LPIPS on whole images"
            rows[-1]["value"] = round(values[name], 3)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--head", type=Path, default=ROOT / DEFAULT_HEAD)
    parser.add_argument("--clip", type=Path, help="a subject's folder under work/")
    parser.add_argument("--images", type=int, default=24000)
    parser.add_argument("--weight", type=float, default=0.05, help="of LPIPS in the loss")
    parser.add_argument("--out", type=Path, help="folder of the JSON file")
    args = parser.parse_args()
    device = serving_device("auto")
    clip = (
        prepared_clip(args.clip, args.head, device)
        if args.clip
        else synthetic_clip(HeadModel.load(args.head), 512, device)
    )
    write(rows_of(clip, device, args.images, args.weight), args.out, "lpips_crops")


if __name__ == "__main__":
    main()
