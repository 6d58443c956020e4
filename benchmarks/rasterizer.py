"""Times `rasterize_gaussians` on this machine and prints a table; writes benchmarks/results.

The scene is a head's worth of Gaussians: an ellipsoid's surface, front and back, over 45 % of the
image, each a few pixels wide. With `--peer`, gsplat's batched rasterizer is timed on the same
scene in the same run.

    python benchmarks/rasterizer.py [--peer]
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow_scripts"))

from headsplat.gaussians.raster.gaussians import InstanceBudget, rasterize_gaussians  # noqa: E402
from headsplat.gaussians.raster.triangles import rasterize_triangles  # noqa: E402
from headsplat.runtime.cuda_graph import recorded  # noqa: E402

NAMES = ("means", "quats", "scales", "opacities", "colors")


def head(count: int, batch: int, size: int, device: str, sigma: float) -> dict[str, torch.Tensor]:
    """`count` Gaussians of about `sigma` pixels on an ellipsoid, other ones in each frame."""
    random = torch.Generator().manual_seed(0)
    distance, focal = 0.6, 2.0 * size
    where = torch.nn.functional.normalize(torch.randn(batch, count, 3, generator=random), dim=-1)
    spread = torch.exp(0.4 * torch.randn(batch, count, 3, generator=random))
    inputs = {
        "means": where * torch.tensor([0.09, 0.12, 0.1]),
        "quats": torch.randn(batch, count, 4, generator=random),
        "scales": spread * sigma * distance / focal,
        "opacities": torch.sigmoid(1 + torch.randn(batch, count, generator=random)),
        "colors": torch.rand(batch, count, 3, generator=random),
        "R": torch.diag(torch.tensor([1.0, -1.0, -1.0])).repeat(batch, 1, 1),
        "t": torch.tensor([0.0, 0.0, distance]).repeat(batch, 1),
        "K4": torch.tensor([focal, focal, size / 2, size / 2]).repeat(batch, 1),
        "background": torch.ones(batch, 3),
    }
    return {k: v.to(device) for k, v in inputs.items()}


def ours(inputs: dict[str, torch.Tensor], size: int, budget: InstanceBudget | None = None):
    """Forward and backward as functions of no arguments."""
    leaves = [inputs[name].clone().requires_grad_() for name in NAMES]
    camera = [inputs[name] for name in ("R", "t", "K4")]
    weight = torch.randn(len(inputs["R"]), size, size, 3).to(leaves[0].device)

    def forward():
        return rasterize_gaussians(*leaves, *camera, size, size, inputs["background"], budget)[0]

    def both():
        return torch.autograd.grad(forward(), leaves, weight)

    return forward, both


def gsplat_peer(inputs: dict[str, torch.Tensor], size: int):
    """The same scene through gsplat, batched, unpacked, as its documentation advises."""
    from gsplat import rasterization

    batch = len(inputs["R"])
    leaves = [inputs[name].clone().requires_grad_() for name in NAMES]
    view = torch.eye(4, device=leaves[0].device).repeat(batch, 1, 1)
    view[:, :3, :3], view[:, :3, 3] = inputs["R"], inputs["t"]
    K = torch.zeros(batch, 3, 3, device=leaves[0].device)
    K[:, 0, 0], K[:, 1, 1], K[:, 0, 2], K[:, 1, 2] = inputs["K4"].unbind(-1)
    K[:, 2, 2] = 1
    weight = torch.randn(batch, 1, size, size, 3, device=leaves[0].device)

    def forward():
        return rasterization(
            *leaves, view[:, None], K[:, None], size, size, packed=False, near_plane=0.2,
            backgrounds=inputs["background"][:, None],
        )[0]  # fmt: skip

    def both():
        return torch.autograd.grad(forward(), leaves, weight)

    return forward, both


def milliseconds(run: Callable[[], Any], repeats: int, cuda: bool) -> float:
    """Median time of one call, warm."""
    for _ in range(5):
        run()
    times = []
    for _ in range(repeats):
        if cuda:
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            run()
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end))
        else:
            begin = time.perf_counter()
            run()
            times.append(1e3 * (time.perf_counter() - begin))
    return statistics.median(times)


def captured(run: Callable[[], Any]) -> Callable[[], None]:
    """`run` as one CUDA graph."""
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.synchronize()
    with recorded() as graph:
        run()
    return graph.replay


def cpu_rows() -> list[dict[str, Any]]:
    """The CPU path."""
    size, count = 256, 8000
    inputs = head(count, 1, size, "cpu", sigma=1.7)
    forward, both = ours(inputs, size)
    what = f"CPU, {size} px, {count} Gaussians, {torch.get_num_threads()} threads"
    rows = [
        row(f"{what}, forward", milliseconds(forward, 30, False), "ms"),
        row(f"{what}, forward + backward", milliseconds(both, 30, False), "ms", target=60),
    ]
    points, faces = mesh(512)
    ms = milliseconds(lambda: rasterize_triangles(points, faces, 512, 512), 30, False)
    return [*rows, row(f"CPU, 512 px, {len(faces)} triangles", ms, "ms")]


def cuda_rows(peer: bool) -> list[dict[str, Any]]:
    """The CUDA path, per image; as a graph and launched one by one."""
    size, count, rows = 512, 13453, []
    for batch in (1, 4, 16):
        inputs = head(count, batch, size, "cuda", sigma=3.0)
        budget = InstanceBudget(1 << 14, "cuda")
        forward, both = ours(inputs, size, budget)
        forward()
        budget.grow()
        if batch == 1:
            print(f"pairs of Gaussian and tile a frame: {budget.pairs * 4 // 5}")
        theirs = (None, None)
        if peer:
            theirs = [1e3 * milliseconds(f, 50, True) / batch for f in gsplat_peer(inputs, size)]
        for name, run, their in (("forward", forward, theirs[0]), ("both", both, theirs[1])):
            name = "forward + backward" if name == "both" else name
            what = f"GPU, {size} px, {count} Gaussians, batch {batch}, {name}"
            target = 100 if batch == 16 and run is both else None
            eager = 1e3 * milliseconds(run, 50, True) / batch
            graph = 1e3 * milliseconds(captured(run), 50, True) / batch
            rows.append(row(what, eager, "us/image", target, their))
            rows.append(row(what + ", as a graph", graph, "us/image", target, their))
    points, faces = (v.cuda() for v in mesh(512))
    ms = milliseconds(lambda: rasterize_triangles(points, faces, 512, 512), 50, True)
    return [*rows, row(f"GPU, 512 px, {len(faces)} triangles", 1e3 * ms, "us")]


def mesh(size: int, n: int = 72) -> tuple[torch.Tensor, torch.Tensor]:
    """A sphere of about 10,000 triangles over most of the image."""
    steps = torch.linspace(0, 1, n)
    polar, round_ = torch.meshgrid(0.1 + 2.94 * steps, 6.283 * steps, indexing="ij")
    x, y = torch.sin(polar) * torch.cos(round_), torch.cos(polar)
    points = torch.stack([x, y, torch.sin(polar) * torch.sin(round_)], -1).reshape(1, -1, 3)
    points = points * torch.tensor([0.4 * size, 0.4 * size, 1.0])
    points = points + torch.tensor([size / 2, size / 2, 2.0])
    index = torch.arange(n * n).reshape(n, n)
    corners = (index[:-1, :-1], index[1:, :-1], index[:-1, 1:], index[1:, 1:])
    a, b, c, d = (corner.flatten() for corner in corners)
    return points, torch.cat([torch.stack([a, b, c], -1), torch.stack([b, d, c], -1)])


def machine() -> str:
    """What the figures were measured on."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor()
    return f"{name}, {len(os.sched_getaffinity(0))} cores"


def row(
    what: str, value: float, unit: str, target: float | None = None, peer: float | None = None
) -> dict[str, Any]:
    """One line of the table; the ratio says how many times faster than the peer."""
    return {
        "what": what,
        "value": round(value, 2),
        "unit": unit,
        "target": target,
        "peer": "gsplat 1.5.3" if peer else None,
        "peer_value": round(peer, 2) if peer else None,
        "ratio": round(peer / value, 2) if peer else None,
        "machine": machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", action="store_true", help="time gsplat too (must be installed)")
    parser.add_argument("--out", type=Path, help="folder of the JSON file")
    args = parser.parse_args()
    cuda = torch.cuda.is_available()
    rows = cuda_rows(args.peer) if cuda else cpu_rows()
    out = args.out or ROOT / "benchmarks" / "results"
    out.mkdir(parents=True, exist_ok=True)
    name = "rasterizer_gpu.json" if cuda else "rasterizer.json"
    (out / name).write_text(json.dumps(rows, indent=1) + "\n")
    for r in rows:
        line = f"{r['what']:70} {r['value']:9.2f} {r['unit']:8} target {r['target']}"
        print(line + (f"  {r['peer']} {r['peer_value']}  {r['ratio']}x" if r["peer"] else ""))


if __name__ == "__main__":
    main()
