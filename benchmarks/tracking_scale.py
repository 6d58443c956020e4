"""Time and peak memory of the tracking stage on long clips, in a process of its own.

    python benchmarks/tracking.py --frames 10081 100000 --device cuda

calls this. By hand it tracks a folder that `write_clip` filled:

    python benchmarks/tracking_scale.py FOLDER DEVICE RUNS
"""

import json
import logging
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "workflow_scripts"), str(ROOT)]

from benchmarks.synthetic_tracks import GroundTruth, detect, make_ground_truth, write_inputs  # noqa: E402
from headsplat.heads.model import HeadModel  # noqa: E402

UNIQUE, PART = 10081, 2000
NAMES = ("head.npz", "landmarks.npz", "crop.json", "frames.tsv")


def write_clip(head: HeadModel, frames: int, folder: Path, noise: float) -> GroundTruth:
    """Write the tracking stage's inputs into `folder`; frames repeat beyond `UNIQUE`."""
    unique = min(frames, UNIQUE)
    ground_truth = make_ground_truth(head, unique)
    names = ("exp", "jaw", "eyes", "lids", "rotation", "translation")

    def chosen(rows: np.ndarray) -> GroundTruth:
        return replace(ground_truth, **{name: getattr(ground_truth, name)[rows] for name in names})

    landmarks = np.empty((frames, 478, 3), np.float32)
    for low in range(0, unique, PART):
        rows = np.arange(low, min(low + PART, unique))
        landmarks[rows], crop = detect(head, chosen(rows), noise, seed=1 + low)
    for low in range(unique, frames, unique):
        landmarks[low : low + unique] = landmarks[: min(unique, frames - low)]
    write_inputs(folder, landmarks, crop)
    head.save(folder / "head.npz")
    return chosen(np.arange(frames) % unique)


def measure(folder: Path, device: str) -> dict[str, float]:
    """Seconds of a first and a second run in one process, peak MiB after the first."""
    command = [sys.executable, __file__, str(folder), device, "2" if device == "cuda" else "1"]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(answer.splitlines()[-1])


def main() -> None:
    import torch

    from headsplat.tracking.run import track_head
    from headsplat.tracking.schedule import ClipTracker

    folder, device, runs = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    logging.basicConfig(level="INFO", stream=sys.stderr, format="%(relativeCreated)8d %(message)s")
    answer: dict[str, float] = {}
    whole = ClipTracker.solve
    solves: list[float] = []

    def timed(self):
        begin = time.perf_counter()
        state = whole(self)
        if device == "cuda":
            torch.cuda.synchronize()
        solves.append(time.perf_counter() - begin)
        return state

    ClipTracker.solve = timed
    for run in range(runs):
        begin = time.perf_counter()
        track_head(
            *(folder / name for name in NAMES), folder / "track.npz", folder / "identity.npy",
            intrinsics="1400,1400,256,256", device=device,
        )  # fmt: skip
        answer["cold" if run == 0 else "warm"] = time.perf_counter() - begin
        if run == 0:
            # Read from this process's memory map, because getrusage includes the parent's pages.
            status = Path("/proc/self/status").read_text()
            peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
            answer["host_mib"] = int(peak.split()[1]) / 1024
            if device == "cuda":
                answer["gpu_mib"] = torch.cuda.max_memory_allocated() / 2**20
    answer["solve"] = solves[-1]
    answer["threads"] = len(os.sched_getaffinity(0))
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
