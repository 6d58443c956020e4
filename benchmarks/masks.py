"""Time the mask networks including decoding and writing; writes benchmarks/results.

The clip is a drifting synthetic scene at JPEG quality 98. The networks have random weights in the
exact official layout. Each stage runs once on a few frames before it is timed; process start-up
(imports, loading of weights) is excluded.

    python benchmarks/masks.py [--frames 1008] [--size 512] [--rvm pth|onnx] [--parser pth|onnx]
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "workflow_scripts")]

from benchmarks.network_files import (  # noqa: E402
    random_bisenet,
    random_rvm,
    write_bisenet_onnx,
    write_rvm_onnx,
)
from benchmarks.rasterizer import machine  # noqa: E402
from headsplat.frames.images import encode_jpeg  # noqa: E402
from headsplat.frames.packs import FrameZipWriter  # noqa: E402
from headsplat.masks.matte import matte_chunk  # noqa: E402
from headsplat.masks.parse_network import parse_chunk_by_network  # noqa: E402
from headsplat.networks.face_parsers import open_parser  # noqa: E402
from headsplat.networks.rvm_inference import open_rvm  # noqa: E402
from headsplat.runtime.device import shared_gpu  # noqa: E402
from headsplat.runtime.files import publish, write_json  # noqa: E402
from headsplat.runtime.process import available_threads  # noqa: E402
from tests.unit.mask_geometry import write_geometry  # noqa: E402

GOAL = 200  # frames per second, both networks, on one H200


def write_clip(path: Path, count: int, size: int) -> None:
    """Write a zip of `count` images: a smooth scene with sensor noise, shifted 2 px per frame."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (9, 24, 3)).astype(np.uint8)
    scene = cv2.resize(coarse, (2 * size, size), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    with publish(path) as temporary, FrameZipWriter(temporary, ".jpg") as pack:
        for k in range(count):
            left = 2 * k % size
            image = scene[:, left : left + size] + rng.integers(-2, 3, (size, size, 1))
            pack.add(k + 1, encode_jpeg(np.clip(image, 0, 255).astype(np.uint8)))


def write_networks(folder: Path, rvm: str, parser: str) -> tuple[Path, Path]:
    """Write weight files of the requested kinds."""
    matting, parsing = folder / f"rvm_mobilenetv3_fp16.{rvm}", folder / f"79999_iter.{parser}"
    if rvm == "onnx":
        write_rvm_onnx(matting, random_rvm("mobilenetv3"), half=torch.cuda.is_available())
    else:
        torch.save(random_rvm("mobilenetv3").state_dict(), matting)
    if parser == "onnx":
        write_bisenet_onnx(parsing, random_bisenet(), batch=None)
    else:
        torch.save(random_bisenet().state_dict(), parsing)
    return matting, parsing


def seconds(call: Callable[[], Any]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def network_alone(call: Callable[[torch.Tensor], torch.Tensor], batch: int, size: int) -> float:
    """Frames per second of a network on images in memory."""
    images = torch.randint(0, 256, (batch, size, size, 3), dtype=torch.uint8)
    images = images.to(shared_gpu(0)[0])
    rounds = 20 if images.is_cuda else 1
    call(images)
    spent = seconds(lambda: [call(images) for _ in range(rounds)])
    return rounds * batch / spent


def measure(count: int, size: int, rvm: str, parser: str) -> list[dict[str, Any]]:
    """Rows of {what, value, unit, target, peer, peer_value, ratio, machine}."""
    torch.set_num_threads(available_threads())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        matting, parsing = write_networks(folder, rvm, parser)
        clip, short = folder / "000.zip", folder / "short/000.zip"
        write_clip(clip, count, size)
        geometry = [folder / name for name in ("head.npz", "track.npz", "cut.npz")]
        write_geometry(*geometry, ids=range(1, count + 1), side=size)
        write_clip(short, min(count, 48), size)

        def matte(frames: Path) -> None:
            matte_chunk([frames], "000", folder / "alpha.zip", "rvm", 0, 0, matting)

        def parse(frames: Path) -> None:
            parse_chunk_by_network(frames, parsing, *geometry, folder / "parsing.zip")

        matte(short), parse(short)
        spent = [seconds(lambda: matte(clip)), seconds(lambda: parse(clip))]
        engines = [open_rvm(matting, *shared_gpu(0)), open_parser(parsing, *shared_gpu(0))]
        alone = [
            network_alone(engines[0].alphas, engines[0].batch, size),
            network_alone(engines[1].labels, engines[1].batch, size),
        ]
    here = f"{machine()}, {available_threads()} threads"
    goal = GOAL if torch.cuda.is_available() else None
    return [
        row(f"RVM mobilenetv3 (.{rvm}), {size} px, decode and write included",
            count / spent[0], here),
        row(f"BiSeNet (.{parser}), likewise", count / spent[1], here),
        row(f"both, {count} frames", count / sum(spent), here, goal),
        row("RVM's network alone", alone[0], here),
        row("BiSeNet's network alone", alone[1], here),
    ]  # fmt: skip


def row(what: str, value: float, here: str, target: float | None = None) -> dict[str, Any]:
    """One line of the table."""
    return {
        "what": what,
        "value": round(value, 1),
        "unit": "frames/s",
        "target": target,
        "peer": None,
        "peer_value": None,
        "ratio": None,
        "machine": here,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    frames = 1008 if torch.cuda.is_available() else 16
    parser.add_argument("--frames", type=int, default=frames)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--rvm", choices=("pth", "onnx"), default="pth")
    parser.add_argument("--parser", choices=("pth", "onnx"), default="pth")
    args = parser.parse_args()
    rows = measure(args.frames, args.size, args.rvm, args.parser)
    for line in rows:
        goal = "" if line["target"] is None else f"  (goal {line['target']})"
        print(f"{line['what']:<58} {line['value']:>8} {line['unit']}{goal}")
    print(rows[0]["machine"])
    write_json(ROOT / "benchmarks/results/masks.json", rows)


if __name__ == "__main__":
    main()
