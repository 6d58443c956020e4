"""Times `.frame` files and the packed track; writes benchmarks/results/frames.json.

    python benchmarks/frames.py [--frames 10000]

Writing is the export stage as it is: from `track.npz` to a published folder, synced to the disk.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "workflow_scripts"), str(ROOT)]

from headsplat.formats.frame import read_frame  # noqa: E402
from headsplat.formats.frame_export import export_frames  # noqa: E402
from headsplat.rotations import matrix_from_axis_angle, matrix_to_6d  # noqa: E402
from headsplat.track import Track, head_moves, read_track, write_track  # noqa: E402


def random_track(count: int) -> Track:
    """A track of FLAME's sizes with random codes and turns."""
    rng = np.random.default_rng(0)

    def turns(*shape: int) -> torch.Tensor:
        return matrix_from_axis_angle(torch.as_tensor(rng.normal(size=(*shape, 3)) * 0.3))

    rotation = np.diag([1.0, -1.0, -1.0]) @ turns(count).numpy()
    translation = rng.normal(size=(count, 3)) * 0.02 + [0, 0, 0.9]
    head_R, head_t, camera_R, camera_t = head_moves(rotation, translation)
    return Track(
        ids=np.arange(1, count + 1), status=np.array(["ok"] * count), confidence=np.ones(count),
        interpolated=np.zeros(count, bool), shape=rng.normal(size=300),
        exp=rng.normal(size=(count, 100)), jaw=matrix_to_6d(turns(count)).numpy(),
        eyes=matrix_to_6d(turns(count, 2)).reshape(count, 12).numpy(),
        eyelids=rng.random((count, 2)), R=rotation, t=translation,
        K=np.array([[1400.0, 0, 256], [0, 1400.0, 256], [0, 0, 1]]), img_size=np.array([512, 512]),
        head_R=head_R, head_t=head_t, camera_R=camera_R, camera_t=camera_t,
        residual_px=np.ones(count), residual_iod=np.ones(count),
        residual_group=np.ones((count, 1)), group_names=np.array(["all"]), head_name="flame",
        head_version="2020", head_licence="none", fps=25.0,
    )  # fmt: skip


def timed(function, *arguments) -> float:
    """Seconds."""
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=10_000, help="how many")
    count = parser.parse_args().frames
    with tempfile.TemporaryDirectory() as name:
        packed, folder = Path(name) / "track.npz", Path(name) / "checkpoint"
        seconds = {
            "write_track": timed(write_track, packed, random_track(count)),
            "read_track": timed(read_track, packed),
            "write_frames": timed(export_frames, packed, folder),
        }
        files = sorted(folder.iterdir())
        seconds["read_frames"] = timed(lambda: [read_frame(file) for file in files])
    result = {
        "frames": count, "seconds": {k: round(v, 3) for k, v in seconds.items()},
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
    }  # fmt: skip
    print(json.dumps(result, indent=1))
    out = ROOT / "benchmarks/results/frames.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
