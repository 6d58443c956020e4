"""What photometric refinement does to the track of a synthetic clip; writes its results as JSON.

Errors against the truth before and after, what held-out skin misses, and the time, into
benchmarks/results/photometric.json.

    python benchmarks/photometric.py [--frames 300] [--size 512] [--device cuda]
        [--head HEAD.npz] [--occluder hand] [--shutter 0.5] [--seed 0]

The head's landmarks must be the few of the model itself (the procedural head as it is made, not
as `work/heads` keeps it), or the clip's oval is not a jaw line.
"""

import argparse
import json
import logging
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "workflow_scripts"), str(ROOT)]

from benchmarks.synthetic_clips import Footage, SyntheticClip  # noqa: E402
from benchmarks.synthetic_tracks import SIZE, head_inputs  # noqa: E402
from headsplat.heads.model import HeadModel  # noqa: E402
from headsplat.heads.procedural.head import procedural_head  # noqa: E402
from headsplat.heads.skinning import HeadGeometry  # noqa: E402
from headsplat.rotations import axis_angle_from_matrix, matrix_from_6d  # noqa: E402
from headsplat.track_io import Track, read_track  # noqa: E402
from headsplat.tracking.photometric.run import refine_track  # noqa: E402
from headsplat.tracking.run import track_head  # noqa: E402


def errors(clip: SyntheticClip, track: Track) -> dict[str, float]:
    """Errors of a track: medians, and `turn_spread` without the clip's constant turn."""
    truth, head = clip.truth, clip.head

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(np.asarray(array, dtype=np.float64))

    off = axis_angle_from_matrix(tensor(track.R) @ tensor(truth.rotation).mT).rad2deg()
    jaw = axis_angle_from_matrix(matrix_from_6d(tensor(track.jaw)))[:, 0]
    rows = slice(None, None, 5)
    geometry = HeadGeometry(head, dtype=torch.float64)
    found = geometry.vertices(
        tensor(track.shape), tensor(track.exp)[rows], matrix_from_6d(tensor(track.jaw)[rows]),
        matrix_from_6d(tensor(track.eyes).reshape(-1, 2, 6)[rows]), tensor(track.eyelids)[rows],
    )  # fmt: skip
    inputs = head_inputs(truth)
    true = geometry.vertices(inputs.pop("shape"), **{k: v[rows] for k, v in inputs.items()})
    face = torch.as_tensor(head.regions["face"]).long()
    a, b = found[:, face], true[:, face]
    raw = (a - b).norm(dim=-1).median()
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    left, sizes, right = torch.linalg.svd(a.mT @ b)
    scale = sizes.sum(-1) / a.square().sum((1, 2))
    aligned = (scale[:, None, None] * (a @ (left @ right)) - b).norm(dim=-1).median()
    lids = [np.corrcoef(track.eyelids[:, k], truth.lids[:, k])[0, 1] for k in (0, 1)]
    return {
        "turn_degrees": float(off.norm(dim=1).median()),
        "turn_spread_degrees": float((off - off.mean(0)).norm(dim=1).median()),
        "vertices_mm": 1000 * float(raw),
        "vertices_aligned_mm": 1000 * float(aligned),
        "jaw_degrees": float((jaw - tensor(truth.jaw)[:, 0]).abs().median().rad2deg()),
        "lids_correlation": float(min(lids)),
    }


def run(clip: SyntheticClip, folder: Path, device: str, mode: str) -> dict[str, float | dict]:
    """Write, track and refine a clip in `folder`."""
    clip.write(folder)
    clip.head.save(folder / "head.npz")
    detections = [folder / n for n in ("landmarks.npz", "crop.json", "frames.tsv")]
    focal = clip.truth.focal
    track_head(
        folder / "head.npz", *detections, folder / "landmark_track.npz", folder / "identity.npy",
        intrinsics=f"{focal},{focal},{SIZE / 2},{SIZE / 2}", device=device,
    )  # fmt: skip
    zips = [sorted((folder / name).glob("*.zip")) for name in ("frames", "alpha")]
    start = time.perf_counter()
    refine_track(
        folder / "head.npz", folder / "landmark_track.npz", *detections, *zips,
        folder / "track.npz", folder / "identity.npy", folder / "refinement.json", mode=mode,
        device=device,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    names = ("landmark_track", "track")
    before, after = (errors(clip, read_track(folder / f"{name}.npz")) for name in names)
    return {"before": before, "after": after, "ms_a_frame": 1000 * seconds / len(clip.truth.exp)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--size", type=int, default=SIZE)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--head", type=Path, help="head model .npz, else the procedural one")
    parser.add_argument("--occluder", choices=("hand", "microphone"))
    parser.add_argument("--shutter", type=float, default=0.0, help="share of the frame time")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    head = procedural_head() if args.head is None else HeadModel.load(args.head)
    footage = Footage(size=args.size, occluder=args.occluder, shutter=args.shutter)
    clip = SyntheticClip(head, args.frames, footage, args.seed, device=args.device)
    with tempfile.TemporaryDirectory() as name:
        result = run(clip, Path(name), args.device, "always")
    before, after = result["before"], result["after"]
    for key, value in before.items():
        print(f"{key:22s} {value:8.3f} -> {after[key]:8.3f}")
    device = torch.cuda.get_device_name() if args.device == "cuda" else "cpu"
    print(f"refinement with decoding {result['ms_a_frame']:.1f} ms a frame, {device}")
    settings = {k: str(v) for k, v in vars(args).items()} | {"machine": device}
    out = ROOT / "benchmarks" / "results" / "photometric.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(settings | result, indent=1) + "\n")


if __name__ == "__main__":
    main()
