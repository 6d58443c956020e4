"""Run the built-in subject in a fresh copy and compare the results with their targets.

    python benchmarks/demo.py [--cores 2]

The copy starts without compiled operators, head model or clip, so the time is that of a new user
after the packages are installed.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "workflow_scripts")]

import numpy as np  # noqa: E402

from benchmarks.rasterizer import machine  # noqa: E402
from headsplat.camera import project  # noqa: E402
from headsplat.evaluate.report.costs import read_costs  # noqa: E402
from headsplat.evaluate.report.tracking import compare  # noqa: E402
from headsplat.frames.crop import Crop  # noqa: E402
from headsplat.gaussians.deform.codes import posed_vertices  # noqa: E402
from headsplat.heads.landmarks import MEDIAPIPE_GROUPS, points  # noqa: E402
from headsplat.heads.model import HeadModel  # noqa: E402
from headsplat.heads.skinning import HeadGeometry  # noqa: E402
from headsplat.runtime.files import read_json, read_npz, write_json  # noqa: E402
from headsplat.track import read_track  # noqa: E402

PARTS = (
    "Snakefile", "rules", "envs", "headsplat", "workflow_scripts", "cuda_ext", "config", "profiles",
    "docs",
)  # fmt: skip


def run_demo(folder: Path, cores: int) -> float:
    """Copy the workflow into `folder`, run the demo there, return wall seconds."""
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, folder / part)
    start = time.perf_counter()
    command = [sys.executable, "-m", "snakemake", "--cores", str(cores), "demo", "--quiet", "all"]
    subprocess.run(command, cwd=folder, check=True)
    return time.perf_counter() - start


def unshifted_residual(folder: Path) -> float:
    """Median landmark residual over the eye distance, without the solver's landmark offsets."""
    head = HeadModel.load(folder / "work/heads/procedural.npz")
    track = read_track(folder / "work/demo/track/track.npz", head)
    solved = read_npz(folder / "work/demo/track/track.npz")
    marks = head.landmarks["mediapipe"]
    vertices = posed_vertices(HeadGeometry(head, "cpu"), track.identity(), track.codes().vector)
    pixels = project(points(vertices, marks), *track.poses(), track.intrinsics()).numpy()
    seen = read_npz(folder / "work/demo/landmarks.npz")["points"][:, marks.index]
    seen = Crop.load(folder / "work/demo/crop.json").points(seen)
    main = np.isin(marks.index, [i for group in MEDIAPIPE_GROUPS.values() for i in group])
    error = np.linalg.norm(pixels[:, main, :2] - seen[:, main, :2], axis=-1)
    eyes = solved["residual_px"] / solved["residual_iod"]
    return float(np.median(np.median(error, axis=1) / eyes))


def measure(folder: Path, seconds: float) -> list[dict[str, Any]]:
    """Rows of {what, value, unit, target, peer, peer_value, ratio, machine}."""
    metrics = read_json(folder / "results/demo/avatar/metrics.json")
    training = read_json(folder / "results/demo/avatar/model/training.json")
    ground_truth = read_npz(folder / "work/builtin/ground_truth.npz")
    errors = compare(read_npz(folder / "work/demo/track/track.npz"), ground_truth)
    peak = max(cost.peak_mib for cost in read_costs(folder / "logs")) / 1024
    here = machine()
    values = [
        ("demo, packages installed", seconds, "s", 360),
        ("peak memory of a stage", peak, "GiB", 4),
        ("training", training["seconds"], "s", None),
        ("psnr_head, held out", metrics["psnr_head"], "dB", 30),
        ("psnr_head_pixels, held out", metrics["psnr_head_pixels"], "dB", None),
        ("ssim_head, held out", metrics["ssim_head"], "", None),
        ("psnr_mouth, held out", metrics["psnr_mouth"], "dB", None),
        ("psnr_eyes, held out", metrics["psnr_eyes"], "dB", None),
        ("temporal error, held out", metrics["temporal_error"], "", None),
        ("static flicker, held out", metrics["static_flicker"], "", None),
        (
            "head rotation against the ground truth, median",
            errors["rotation_deg_median"],
            "degrees",
            1.0,
        ),
        ("jaw against the ground truth, correlation", errors["jaw_correlation"], "", 0.9),
        ("lids against the ground truth, correlation", errors["lids_correlation"], "", 0.9),
        ("landmark residual, median", 100 * errors["residual_iod_median"], "% of eye distance", 1),
        (
            "the same, landmarks unshifted",
            100 * unshifted_residual(folder),
            "% of eye distance",
            None,
        ),
    ]
    return [
        {
            "what": what,
            "value": round(value, 4),
            "unit": unit,
            "target": target,
            "peer": None,
            "peer_value": None,
            "ratio": None,
            "machine": here,
        }
        for what, value, unit, target in values
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cores", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        rows = measure(Path(name), run_demo(Path(name), args.cores))
    for row in rows:
        goal = "" if row["target"] is None else f"  (goal {row['target']})"
        print(f"{row['what']:<42} {row['value']:>10} {row['unit']}{goal}")
    write_json(ROOT / "benchmarks/results/demo.json", rows)


if __name__ == "__main__":
    main()
