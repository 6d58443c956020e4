"""Measure the training rate on this machine, and its memory use.

    python benchmarks/training.py                            # CPU: 256 px, 8,000 Gaussians
    python benchmarks/training.py [--clip work/anna --head work/heads/ict.npz]    # on a GPU

On a GPU: each deformation model with and without LPIPS, at 512 px. The peer, in the same run, is
the published training loop: one frame per step, launched kernel by kernel, in single precision,
full-image LPIPS. LPIPS has random weights, which cost the same.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "workflow_scripts")]

from benchmarks.clips import Clip, ClipImages, prepared_clip, synthetic_clip  # noqa: E402
from benchmarks.random_lpips import random_lpips  # noqa: E402
from benchmarks.rasterizer import machine  # noqa: E402
from benchmarks.recipes import Recipe, flashavatar_recipe, follow, now, our_recipe, show  # noqa: E402
from benchmarks.recipes import start as begin  # noqa: E402
from headsplat.gaussians.raster.extension import serving_device  # noqa: E402
from headsplat.heads.model import HeadModel  # noqa: E402
from headsplat.runtime import cuda_graph  # noqa: E402
from headsplat.runtime.process import available_threads  # noqa: E402
from headsplat.train.lpips import Lpips  # noqa: E402

DEFAULT_HEAD = "work/heads/procedural.npz"
BATCH, MEMORY_FRAMES = 16, 2000
# Images per second that the arithmetic allows on one H200: without LPIPS, and with LPIPS on crops
# of half the side at 60 % of the bf16 peak.
CEILING, LPIPS_CEILING = 11000.0, 2600.0


def steady_rate(clip: Clip, recipe: Recipe, device: torch.device, steps: int,
                lpips: Lpips | None = None, eager: bool = False) -> float:  # fmt: skip
    """Images per second at full size, after the first steps of the phase."""
    recipe = replace(
        recipe, options=replace(recipe.options, coarse_fraction=0.0, steps=steps + 100)
    )
    trainer = begin(clip, recipe, device, lpips)
    before = cuda_graph.EAGER_RUNS
    cuda_graph.EAGER_RUNS = 10**9 if eager else before
    try:
        trainer.advance(100)
        began = now(device)
        trainer.advance(steps + 100)
        return steps * recipe.options.batch / (now(device) - began)
    finally:
        cuda_graph.EAGER_RUNS = before


def memory_mib(clip: Clip, device: torch.device) -> float:
    """Peak of the allocator's memory with 2,000 resident frames."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_reserved()
    rows = torch.arange(MEMORY_FRAMES) % len(clip.training)
    many = LongClip(**{**vars(clip), "training": clip.training[rows]})
    recipe = our_recipe(BATCH * 200, batch=BATCH, gaussians=13453)
    trainer = begin(many, recipe, device)
    trainer.advance(recipe.options.steps)
    return (torch.cuda.max_memory_reserved() - before) / 2**20


class LongClip(Clip):
    """A clip whose training rows repeat; each repetition has its own image in memory."""

    def ids(self) -> list[int]:
        """Frame ids of the rows, repeated."""
        return [int(self.track.ids[row]) for row in self.training]

    def images(self) -> ClipImages:
        """One image per row."""
        return ClipImages(self.planes[self.training.to(self.planes.device)])


def gpu_rows(clip: Clip, device: torch.device) -> list[dict[str, Any]]:
    """Rows of training on a GPU."""
    vgg = random_lpips(device, torch.bfloat16)
    eager_vgg = random_lpips(device, torch.float32)
    plain = our_recipe(1, batch=BATCH, gaussians=13453)
    mlp = our_recipe(1, batch=BATCH, model="flashavatar")
    published = flashavatar_recipe()
    peer = steady_rate(clip, published, device, 200, eager=True)
    peer_lpips = steady_rate(clip, published, device, 100, eager_vgg, eager=True)
    rows = []
    for what, recipe, steps, lpips, target, ceiling in (
        ("blendshapes", plain, 1000, None, 3000, CEILING),
        ("flashavatar", mlp, 400, None, 2000, CEILING),
        ("blendshapes with LPIPS-VGG", plain, 200, vgg, 800, LPIPS_CEILING),
        ("flashavatar with LPIPS-VGG", mlp, 200, vgg, 800, LPIPS_CEILING),
    ):
        rate = steady_rate(clip, recipe, device, steps, lpips)
        theirs = peer if lpips is None else peer_lpips
        rows.append(row(f"training, {what}, {clip.name}, batch {BATCH}", rate, "images/s", target,
                        theirs, rate / theirs, ceiling))  # fmt: skip
        print(rows[-1]["what"], rows[-1]["value"], flush=True)
    rows.append(row(f"GPU memory, {MEMORY_FRAMES} frames, blendshapes, batch {BATCH}",
                    memory_mib(clip, device), "MiB", 8192))  # fmt: skip
    return rows


def row(what: str, value: float, unit: str, target: float | None, peer: float | None = None,
        ratio: float | None = None, ceiling: float | None = None) -> dict[str, Any]:  # fmt: skip
    """One line of the table."""
    return {
        "what": what,
        "value": round(value, 1),
        "unit": unit,
        "target": target,
        "peer": "batch 1, launched kernel by kernel, float32" if peer else None,
        "peer_value": round(peer, 1) if peer else None,
        "ratio": round(ratio, 2) if ratio else None,
        "ceiling": ceiling,
        "machine": machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--head", type=Path, default=ROOT / DEFAULT_HEAD)
    parser.add_argument("--clip", type=Path, help="a subject's folder under work/")
    parser.add_argument("--out", type=Path, help="folder of the JSON file")
    args = parser.parse_args()
    torch.set_num_threads(available_threads())
    device = serving_device("auto")
    if not args.head.exists():
        parser.error(f"{args.head} is not there: make it with snakemake -c1 {DEFAULT_HEAD}")
    size = 512 if device.type == "cuda" else 256
    clip = (
        prepared_clip(args.clip, args.head, device)
        if args.clip
        else synthetic_clip(HeadModel.load(args.head), size, device)
    )
    if device.type == "cuda":
        rows = gpu_rows(clip, device)
    else:
        recipe = our_recipe(2400, batch=4, gaussians=8000)
        _, seen = follow(clip, recipe, device, 4)
        show(f"{recipe.name}, {clip.name}", seen)
        what = f"{recipe.name}, {clip.name}, 8,000 Gaussians"
        rate = seen[-1].images / (seen[-1].seconds - seen[0].seconds)
        rows = [
            row(f"training, {what}", rate, "images/s", None),
            row(f"held-out psnr_head after {seen[-1].images} images, {what}", seen[-1].psnr, "dB",
                30.0),
        ]  # fmt: skip
    write(rows, args.out, "training_gpu" if device.type == "cuda" else "training")


def write(rows: list[dict[str, Any]], out: Path | None, name: str) -> None:
    """Write the rows to the results, and print them."""
    out = out or ROOT / "benchmarks" / "results"
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(rows, indent=1) + "\n")
    for line in rows:
        text = f"{line['what']:70} {line['value']:9.2f} {line['unit']:9} target {line['target']}"
        if line.get("peer"):
            text += f"  peer {line['peer_value']} ({line['peer']}), {line['ratio']}x"
        if line.get("ceiling"):
            text += f"  ceiling {line['ceiling']}"
        print(text)


if __name__ == "__main__":
    main()
