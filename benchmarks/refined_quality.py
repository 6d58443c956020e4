"""What holding the track against the images does for the avatar: held-out PSNR with and without.

Trains the defaults on a subject's refined track and on its landmarks' track, same split, masks and
seeds, and writes benchmarks/results/refined_quality.json. The subject must have been run with
`track.photometric` at auto or always.

    python benchmarks/refined_quality.py --clip work/SUBJECT --head work/heads/HEAD.npz
        [--seeds 3] [--images 48000] [--device cuda]
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "workflow_scripts"), str(ROOT)]

from benchmarks.clips import held_out_psnr, prepared_clip  # noqa: E402
from benchmarks.recipes import our_recipe, start  # noqa: E402
from headsplat.gaussians.raster.extension import serving_device  # noqa: E402

TRACKS = ("landmark_track", "track")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clip", type=Path, required=True, help="a subject's folder under work/")
    parser.add_argument("--head", type=Path, required=True, help="its head model .npz")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=48000)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    args = parser.parse_args()
    device = serving_device(args.device)
    found: dict[str, list[float]] = {}
    for name in TRACKS:
        clip = prepared_clip(args.clip, args.head, device, name)
        for seed in range(args.seeds):
            trainer = start(clip, our_recipe(args.images, seed=seed), device)
            trainer.advance(trainer.steps)
            found.setdefault(name, []).append(held_out_psnr(trainer.avatar, clip))
            print(f"{name:16s} seed {seed}: {found[name][-1]:.2f} dB", flush=True)
    means = [float(np.mean(found[name])) for name in TRACKS]
    machine = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    print(f"mean {means[0]:.2f} -> {means[1]:.2f} dB ({means[1] - means[0]:+.2f}), {machine}")
    out = ROOT / "benchmarks" / "results" / "refined_quality.json"
    out.parent.mkdir(exist_ok=True)
    facts = {"clip": args.clip.name, "images": args.images, "machine": machine}
    out.write_text(json.dumps(facts | {"psnr_head": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
