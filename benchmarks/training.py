"""Trains an avatar of a synthetic clip on this machine; prints speed and quality over time.

The clip is the procedural head, posed by known smooth motion and drawn with
its paint and one lamp; every sixth second is held out. What is timed is what `train_avatar` runs.

    python benchmarks/training.py [--size 256 --gaussians 8000 --batch 4 --steps 600]
"""

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "workflow_scripts")]

from benchmarks.rasterizer import machine  # noqa: E402
from benchmarks.synthetic_tracks import SIZE, head_inputs, make_truth  # noqa: E402
from headsplat.avatar import Avatar  # noqa: E402
from headsplat.camera import project  # noqa: E402
from headsplat.cli import available_threads  # noqa: E402
from headsplat.deform.codes import POSE, condition_size  # noqa: E402
from headsplat.evaluate.metrics import frame_metrics  # noqa: E402
from headsplat.heads.model import HeadModel  # noqa: E402
from headsplat.heads.skinning import HeadGeometry  # noqa: E402
from headsplat.raster.triangles import interpolate, rasterize_triangles  # noqa: E402
from headsplat.rotations import matrix_to_6d  # noqa: E402
from headsplat.train.options import TrainOptions  # noqa: E402
from headsplat.train.plan import make_plan  # noqa: E402
from headsplat.train.prepare import empty_avatar, initialise, training_frames  # noqa: E402
from headsplat.train.run import FINAL_RATE, WARM_STEPS, choose_device  # noqa: E402
from headsplat.train.track import Track  # noqa: E402
from headsplat.train.trainer import Trainer  # noqa: E402

FRAMES, MARKS = 300, 6
DEFAULT_HEAD = "work/heads/procedural.npz"
# Official FlashAvatar without LPIPS, one H200, batch 1, 512 px, 14,579 Gaussians (official code
# 2d4cb25 with its own rasteriser, torch 2.11, synced wall clock).
FLASHAVATAR_H200 = 90.0


class SyntheticPictures:
    """The pictures of all frames as the trainer asks for them, by step of a plan."""

    def __init__(self, planes: Tensor, training: Tensor, plan: Tensor) -> None:
        self._planes, self._training, self._plan = planes, training, plan.to(planes.device)

    def batch(self, step: int) -> Tensor:
        """(B, H, W, 5) of a step."""
        return self._planes.index_select(0, self._training[self._plan[step]])

    def rows(self, rows: list[int]) -> Tensor:
        """(n, H, W, 5) of some training rows."""
        return self._planes[self._training[rows]]


def synthetic_clip(head: HeadModel, size: int, device: torch.device) -> tuple[Track, Tensor]:
    """The true track, and pictures (N, H, W, 5) uint8: colour, matte, mouth."""
    truth = make_truth(head, FRAMES, focal=1100.0)
    inputs = {key: value.float() for key, value in head_inputs(truth).items()}
    rotation = torch.as_tensor(truth.rotation).float()
    translation = torch.as_tensor(truth.translation).float()
    focal = truth.focal * size / SIZE
    intrinsics = torch.tensor([focal, focal, size / 2, size / 2])
    geometry = HeadGeometry(head)
    faces = geometry.faces
    paint = torch.as_tensor(head.albedo)
    mouth = torch.zeros(len(head.template))
    for region in ("lips", "teeth", "mouth_interior"):
        mouth[torch.as_tensor(head.regions[region]).long()] = 1
    lamp = torch.nn.functional.normalize(torch.tensor([0.4, -0.5, -0.8]), dim=0)
    planes = []
    for rows in torch.arange(FRAMES).split(10):
        codes = {key: value[rows] for key, value in inputs.items() if key != "shape"}
        vertices = geometry.vertices(inputs["shape"], **codes)
        points = project(vertices, rotation[rows], translation[rows], intrinsics)
        face, weights = rasterize_triangles(points, faces, size, size)
        corners = [vertices[:, faces[:, k]] for k in range(3)]
        normal = torch.linalg.cross(corners[1] - corners[0], corners[2] - corners[0])
        smooth = torch.zeros_like(vertices)
        for k in range(3):
            smooth.index_add_(1, faces[:, k], normal)
        smooth = torch.nn.functional.normalize(smooth, dim=-1) @ rotation[rows].transpose(1, 2)
        shade = 0.4 + 0.7 * (smooth @ lamp).clamp_min(0)
        colour = (paint * shade[..., None]).clamp(0, 1)
        drawn = interpolate(face, weights, faces, torch.cat(
            [colour, torch.ones_like(colour[..., :1]), mouth.expand(len(rows), -1)[..., None]], -1
        ))  # fmt: skip
        planes.append((drawn * 255).round().to(torch.uint8))
    count = len(rotation)
    eyes = matrix_to_6d(inputs["eyes"]).flatten(1)
    condition = [inputs["exp"], matrix_to_6d(inputs["jaw"]), eyes, inputs["eyelids"]]
    track = Track(
        np.arange(1, count + 1), torch.ones(count), inputs["shape"], torch.cat(condition, 1),
        rotation, translation, intrinsics, size, size,
    )  # fmt: skip
    return track, torch.cat(planes).to(device)


def held_out_psnr(avatar: Avatar, track: Track, planes: Tensor, rows: Tensor) -> float:
    """Mean `psnr_head` of some frames, dB."""
    values = []
    for some in rows.split(8):
        colour, _ = avatar.render(
            track.condition[some], track.rotation[some], track.translation[some],
            track.intrinsics, track.width, track.height, torch.zeros(3),
        )  # fmt: skip
        truth = planes[some.to(planes.device)].float() / 255
        matte = truth[..., 3]
        picture = truth[..., :3] * matte[..., None]
        values.append(frame_metrics(picture, colour, (matte > 0.5).float())["psnr_head"])
    return torch.cat(values).mean().item()


def render_speed(avatar: Avatar, track: Track, rows: Tensor, batch: int) -> float:
    """Frames a second, deformation and rasteriser, in batches."""
    some = rows[:batch]
    arguments = [v[some].to(avatar.device) for v in (track.condition, track.rotation)]
    arguments += [track.translation[some].to(avatar.device), track.intrinsics.to(avatar.device)]
    start, count = 0.0, 0
    for repeat in range(8):
        if repeat == 3:
            wait(avatar.device)
            start = time.perf_counter()
        avatar.render(*arguments, track.width, track.height, torch.zeros(3, device=avatar.device))
        count += len(some) if repeat >= 3 else 0
    wait(avatar.device)
    return count / (time.perf_counter() - start)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def run(head: HeadModel, size: int, options: TrainOptions, device: torch.device) -> list[dict]:
    """Train once; rows of the results file."""
    track, planes = synthetic_clip(head, size, device)
    frames = torch.arange(FRAMES)
    held_out = frames[(frames // 25) % 6 == 3]
    guard = (frames[:, None] - held_out).abs().amin(1) <= 2
    kept = frames[~guard]
    start = time.perf_counter()
    plan = make_plan(len(kept), options, condition_size(head) + POSE, WARM_STEPS, FINAL_RATE)
    avatar = empty_avatar(head, track, kept, options, device)
    training = training_frames(avatar, track, [int(row) + 1 for row in kept])
    pictures = SyntheticPictures(planes, kept.to(device), plan.rows)
    initialise(avatar, training, pictures)
    trainer = Trainer(avatar, training, pictures, plan, options, None)
    wait(device)
    ready = time.perf_counter() - start
    print(f"{options.model}, {len(avatar.anchors)} Gaussians, {size} px, batch {options.batch}, "
          f"{device}: start in {ready:.1f} s, "
          f"{held_out_psnr(avatar, track, planes, held_out):.2f} dB")  # fmt: skip
    seconds, done = 0.0, 0
    for mark in range(1, MARKS + 1):
        wait(device)
        start = time.perf_counter()
        for step in range(done, mark * options.steps // MARKS):
            trainer.step(step)
        wait(device)
        seconds, done = seconds + time.perf_counter() - start, mark * options.steps // MARKS
        quality = held_out_psnr(avatar, track, planes, held_out)
        images = done * options.batch
        rate = images / seconds
        print(f"{images:9d} images {seconds:7.1f} s {rate:8.1f} images/s  {quality:.2f} dB")
    name = f"{options.model}, {size} px, {len(avatar.anchors)} Gaussians, batch {options.batch}"
    card = device.type == "cuda"
    speed = done * options.batch / seconds
    fps = render_speed(avatar, track, held_out, 16)
    row = {"target": None, "peer": None, "peer_value": None, "ratio": None, "machine": machine()}
    targets = {"blendshapes": 3000.0, "flashavatar": 2000.0}
    peer = {
        "target": targets[options.model],
        "peer": "official FlashAvatar, batch 1",
        "peer_value": FLASHAVATAR_H200,
        "ratio": round(speed / FLASHAVATAR_H200, 2),
    }
    return [
        row | {"what": f"training, {name}", "value": round(speed, 1), "unit": "images/s"}
        | (peer if card and size == 512 else {}),
        row | {"what": f"held-out psnr_head after {done * options.batch} images, {name}",
               "value": round(quality, 2), "unit": "dB", "target": 30.0},
        row | {"what": f"rendering in batches of 16, {name}", "value": round(fps, 1),
               "unit": "frames/s"},
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--head", type=Path, default=ROOT / DEFAULT_HEAD)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--gaussians", type=int, default=8000)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--model", choices=("blendshapes", "flashavatar"), default="blendshapes")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--out", type=Path, help="folder of the JSON file")
    args = parser.parse_args()
    torch.set_num_threads(available_threads())
    device = choose_device(args.device)
    if not args.head.exists():
        parser.error(f"{args.head} is not there: make it with snakemake -c1 {DEFAULT_HEAD}")
    head = HeadModel.load(args.head)
    options = replace(
        TrainOptions(), model=args.model, gaussians=args.gaussians, batch=args.batch,
        steps=args.steps,
    )  # fmt: skip
    rows = run(head, args.size, options, device)
    out = args.out or ROOT / "benchmarks" / "results"
    out.mkdir(parents=True, exist_ok=True)
    name = "training.json" if device.type == "cpu" else f"training_gpu_{args.model}.json"
    (out / name).write_text(json.dumps(rows, indent=1) + "\n")
    for line in rows:
        print(f"{line['what']:75} {line['value']:9.2f} {line['unit']}")


if __name__ == "__main__":
    main()
