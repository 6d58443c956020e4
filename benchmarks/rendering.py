"""Time the rendering of an avatar, from the codes of its frames to its images.

    python benchmarks/rendering.py [--head work/heads/ict.npz]

The avatars are trained briefly on the synthetic clip, so that their Gaussians have realistic sizes
and overlap. Codes and poses come from the host, as from a tracker. Single frames: median wall time
including a wait for the GPU after each frame, after warm-up. Batches: wall time over many frames.
The peer renders the same avatar in the same run as existing tools do: one frame at a time, launched
kernel by kernel. On a CPU both are the same function.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "workflow_scripts")]

from benchmarks.clips import Clip, synthetic_clip  # noqa: E402
from benchmarks.rasterizer import machine  # noqa: E402
from benchmarks.recipes import our_recipe, start  # noqa: E402
from headsplat.avatar import Avatar  # noqa: E402
from headsplat.gaussians.deform.torso import CODE, Torso  # noqa: E402
from headsplat.gaussians.raster.extension import serving_device  # noqa: E402
from headsplat.heads.bust import bust  # noqa: E402
from headsplat.heads.model import HeadModel  # noqa: E402
from headsplat.heads.skinning import HeadGeometry  # noqa: E402
from headsplat.render import FrameRenderer  # noqa: E402
from headsplat.runtime.process import available_threads  # noqa: E402

DEFAULT_HEAD = "work/heads/procedural.npz"
MODELS = ("blendshapes", "flashavatar", "dynavatar")
FRAMES = 100
# Frames per second that arithmetic and memory traffic allow on one H200: low and high estimates.
CEILING, BATCH_CEILING = (8000, 16000), (17000, 50000)
TARGET, BATCH_TARGET = 2000, 10000
PEER = "the same avatar, frame by frame, launched kernel by kernel"
ALONE = "the head alone"


@dataclass(frozen=True)
class Load:
    """Number of frames to render and time."""

    size: int
    gaussians: int
    batch: int
    steps: int  # of training
    warm: int
    frames: int


GPU = Load(size=512, gaussians=16000, batch=16, steps=400, warm=100, frames=3000)
CPU = Load(size=256, gaussians=8000, batch=4, steps=20, warm=3, frames=24)


def trained(clip: Clip, model: str, load: Load, device: torch.device) -> Avatar:
    """An avatar trained briefly on the clip."""
    recipe = our_recipe(
        load.steps * load.batch, batch=load.batch, gaussians=load.gaussians, model=model
    )
    trainer = start(clip, recipe, device)
    trainer.advance(load.steps)
    wait(device)
    return trainer.avatar


def percentiles(run: Callable[[int], Any], load: Load, device: torch.device) -> tuple[float, float]:
    """Median and 99th percentile of the seconds from a frame's code to its image."""
    times = []
    for frame in range(load.warm + load.frames):
        begin = time.perf_counter()
        run(frame % FRAMES)
        wait(device)
        times.append(time.perf_counter() - begin)
    found = torch.tensor(times[load.warm :], dtype=torch.float64)
    return found.quantile(0.5).item(), found.quantile(0.99).item()


def wait(device: torch.device) -> None:
    """Wait until the device has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def batched_rate(renderer: FrameRenderer, codes: list[torch.Tensor], load: Load) -> float:
    """Frames per second in batches, images discarded; the median of three runs."""
    order = torch.arange(max(load.batch, load.frames // load.batch * load.batch)) % FRAMES
    many = [value[order] for value in codes]
    rates = []
    for _ in range(4):
        begin = time.perf_counter()
        for _ in renderer.frames(*many):
            pass
        wait(renderer.avatar.device)
        rates.append(len(order) / (time.perf_counter() - begin))
    return torch.tensor(rates[1:]).median().item()


def model_rows(clip: Clip, model: str, load: Load, device: torch.device) -> list[dict[str, Any]]:
    """Rows of one deformation model."""
    avatar = trained(clip, model, load, device)
    track, black = clip.track, torch.zeros(3)
    codes = [track.codes().vector, *track.poses()]
    camera = (load.size, load.size, track.intrinsics(), black)
    single, many = (FrameRenderer(avatar, batch, *camera) for batch in (1, load.batch))
    on_gpu = device.type == "cuda"

    def one(frame: int) -> list[torch.Tensor]:
        return [value[frame : frame + 1] for value in codes]

    median, slow = percentiles(lambda frame: single.render(*one(frame)), load, device)
    rate = batched_rate(many, codes, load)
    peer = None
    if on_gpu:
        eager = lambda frame: avatar.render_codes(  # noqa: E731
            *one(frame), track.intrinsics(), load.size, load.size, black
        )
        peer, peer_slow = percentiles(eager, load, device)
        print(f"{model}, {PEER}: p50 {1e6 * peer:.0f} us, p99 {1e6 * peer_slow:.0f} us")
    what = f"rendering, {model}, {load.size} px, {len(avatar.anchors)} Gaussians"
    rows = [
        row(f"{what}, one at a time", 1 / median, "frames/s", TARGET,
            1 / peer if peer else None, CEILING),
        row(f"{what}, time of a frame, p50", 1e6 * median, "us"),
        row(f"{what}, time of a frame, p99", 1e6 * slow, "us"),
        row(f"{what}, batches of {load.batch}", rate, "frames/s", BATCH_TARGET,
            1 / peer if peer else None, BATCH_CEILING),
    ]  # fmt: skip
    rows = rows if on_gpu else [r | {"target": None, "ceiling": None} for r in rows]
    return rows + torso_rows(avatar, camera, codes, load, device, what)


def torso_rows(
    avatar: Avatar,
    camera: tuple[Any, ...],
    codes: list[torch.Tensor],
    load: Load,
    device: torch.device,
    what: str,
) -> list[dict[str, Any]]:
    """Rows of the avatar with a torso that fills the image below the head, and a turning neck."""
    give_torso(avatar)
    moving = [*codes, torch.eye(3, 4).expand(len(codes[0]), 3, 4)]
    found = []
    for head_only in (False, True):
        single, many = (FrameRenderer(avatar, b, *camera, head_only) for b in (1, load.batch))
        frame = lambda k, single=single: single.render(*(v[k : k + 1] for v in moving))  # noqa: E731
        median, _ = percentiles(frame, load, device)
        found.append((1 / median, batched_rate(many, moving, load)))
    name = f"{what} and {avatar.torso.count} of a torso"
    kinds = ("one at a time", f"batches of {load.batch}")
    return [
        row(f"{name}, {kind}", both, "frames/s") | {
            "peer": ALONE, "peer_value": round(alone, 1), "ratio": round(both / alone, 2)
        }
        for kind, both, alone in zip(kinds, *found, strict=True)
    ]  # fmt: skip


@torch.no_grad()
def give_torso(avatar: Avatar) -> None:
    """A torso of opaque disks on the bust, half as many as the head has Gaussians."""
    mesh = bust(avatar.head, HeadGeometry(avatar.head).shaped(avatar.shape.cpu()).numpy())
    count, make = len(avatar.anchors) // 2, torch.Generator().manual_seed(0)
    faces = torch.from_numpy(mesh.faces).long()
    picked = faces[torch.randint(len(faces), (count,), generator=make)]
    weights = torch.rand(count, 3, generator=make)
    weights /= weights.sum(1, keepdim=True)
    points = (torch.from_numpy(mesh.vertices)[picked] * weights[..., None]).sum(1)
    torso = Torso(count)
    flat = torch.tensor([1.0, 0, 0, 0]).expand(count, 4)
    spacing, colors = torch.full((count,), 0.005), torch.rand(count, 3, generator=make)
    torso.start(points, flat, spacing, colors, 0.9, torch.zeros(2, CODE))
    avatar.torso = torso.to(avatar.device)


def row(
    what: str,
    value: float,
    unit: str,
    target: float | None = None,
    peer: float | None = None,
    ceiling: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """One row of the table; the ratio is the speed-up over the peer."""
    return {
        "what": what,
        "value": round(value, 1),
        "unit": unit,
        "target": target,
        "peer": PEER if peer else None,
        "peer_value": round(peer, 1) if peer else None,
        "ratio": round(value / peer, 2) if peer else None,
        "ceiling": ceiling,
        "machine": machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--head", type=Path, default=ROOT / DEFAULT_HEAD)
    parser.add_argument("--out", type=Path, help="folder of the JSON file")
    args = parser.parse_args()
    torch.set_num_threads(available_threads())
    device = serving_device("auto")
    if not args.head.exists():
        parser.error(f"{args.head} is not there: make it with snakemake -c1 {DEFAULT_HEAD}")
    load = GPU if device.type == "cuda" else CPU
    clip = synthetic_clip(HeadModel.load(args.head), load.size, device, FRAMES)
    rows = [line for model in MODELS for line in model_rows(clip, model, load, device)]
    out = args.out or ROOT / "benchmarks" / "results"
    out.mkdir(parents=True, exist_ok=True)
    name = "rendering_gpu.json" if device.type == "cuda" else "rendering.json"
    (out / name).write_text(json.dumps(rows, indent=1) + "\n")
    for r in rows:
        line = f"{r['what']:75} {r['value']:9.1f} {r['unit']:8} target {r['target']}"
        print(line + (f"  peer {r['peer_value']}  {r['ratio']}x" if r["peer"] else ""))


if __name__ == "__main__":
    main()
