"""What photometric refinement does to the tracks of synthetic clips; writes its results as JSON.

Writes errors against the ground truth before and after, and the time, into
benchmarks/results/photometric.json.
`turn_spread_degrees` is without the clip's constant turn; `vertices_aligned_mm` is after a
similarity, because one camera cannot tell a large far head from a small near one.

    python benchmarks/photometric.py [--seeds 5] [--frames 300] [--size 512] [--device cuda]
        [--head HEAD.npz] [--occluder hand] [--shutter 0.5]
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "workflow_scripts"), str(ROOT)]

from benchmarks.synthetic_clips import Footage, SyntheticClip  # noqa: E402
from benchmarks.synthetic_tracks import SIZE, head_inputs  # noqa: E402
from headsplat.heads.landmarks import MEDIAPIPE_GROUPS, pick  # noqa: E402
from headsplat.heads.model import HeadModel  # noqa: E402
from headsplat.heads.skinning import HeadGeometry  # noqa: E402
from headsplat.rotations import axis_angle_from_matrix, matrix_from_6d  # noqa: E402
from headsplat.synthetic.head.head import procedural_head  # noqa: E402
from headsplat.track import Track, read_track  # noqa: E402
from headsplat.tracking.photometric.run import refine_track  # noqa: E402
from headsplat.tracking.run import track_head  # noqa: E402


def errors(clip: SyntheticClip, track: Track) -> dict[str, float]:
    """Errors of a track: medians, and `turn_spread` without the clip's constant turn."""
    ground_truth, head = clip.ground_truth, clip.head

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(np.asarray(array, dtype=np.float64))

    off = axis_angle_from_matrix(tensor(track.R) @ tensor(ground_truth.rotation).mT).rad2deg()
    jaw = axis_angle_from_matrix(matrix_from_6d(tensor(track.jaw)))[:, 0]
    rows = slice(None, None, 5)
    geometry = HeadGeometry(head, dtype=torch.float64)
    found = geometry.vertices(
        tensor(track.shape), tensor(track.exp)[rows], matrix_from_6d(tensor(track.jaw)[rows]),
        matrix_from_6d(tensor(track.eyes).reshape(-1, 2, 6)[rows]), tensor(track.eyelids)[rows],
    )  # fmt: skip
    inputs = head_inputs(ground_truth)
    true = geometry.vertices(inputs.pop("shape"), **{k: v[rows] for k, v in inputs.items()})
    face = torch.as_tensor(head.regions["face"]).long()
    a, b = found[:, face], true[:, face]
    raw = (a - b).norm(dim=-1).median()
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    left, sizes, right = torch.linalg.svd(a.mT @ b)
    scale = sizes.sum(-1) / a.square().sum((1, 2))
    aligned = (scale[:, None, None] * (a @ (left @ right)) - b).norm(dim=-1).median()
    lids = [np.corrcoef(track.eyelids[:, k], ground_truth.lids[:, k])[0, 1] for k in (0, 1)]
    return {
        "turn_degrees": float(off.norm(dim=1).median()),
        "turn_spread_degrees": float((off - off.mean(0)).norm(dim=1).median()),
        "vertices_mm": 1000 * float(raw),
        "vertices_aligned_mm": 1000 * float(aligned),
        "jaw_degrees": float((jaw - tensor(ground_truth.jaw)[:, 0]).abs().median().rad2deg()),
        "lids_correlation": float(min(lids)),
    }


def run(clip: SyntheticClip, folder: Path, device: str, mode: str) -> dict[str, float | dict]:
    """Write, track and refine a clip in `folder`."""
    clip.write(folder)
    clip.head.save(folder / "head.npz")
    detections = [folder / n for n in ("landmarks.npz", "crop.json", "frames.tsv")]
    focal = clip.ground_truth.focal
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
    return {
        "before": before,
        "after": after,
        "ms_a_frame": 1000 * seconds / len(clip.ground_truth.exp),
    }


def without_oval(head: HeadModel) -> HeadModel:
    """The head without landmarks for the oval, which `detect` draws along the jaw."""
    known = [i for name, group in MEDIAPIPE_GROUPS.items() if name != "oval" for i in group]
    marks = pick(head.landmarks["mediapipe"], np.array(known))
    return replace(head, landmarks=head.landmarks | {"mediapipe": marks})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--size", type=int, default=SIZE)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--head", type=Path, help="head model .npz, else the procedural one")
    parser.add_argument("--occluder", choices=("hand", "microphone"))
    parser.add_argument("--shutter", type=float, default=0.0, help="share of the frame time")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    args = parser.parse_args()
    head = procedural_head() if args.head is None else without_oval(HeadModel.load(args.head))
    footage = Footage(size=args.size, occluder=args.occluder, shutter=args.shutter)
    results = []
    for seed in range(args.seeds):
        clip = SyntheticClip(head, args.frames, footage, seed, device=args.device)
        with tempfile.TemporaryDirectory() as name:
            results.append(run(clip, Path(name), args.device, "always"))
    print(f"{'median (worst) of seeds':24s}   before            after")
    for key in results[0]["before"]:
        worst = min if key == "lids_correlation" else max
        columns = [[result[when][key] for result in results] for when in ("before", "after")]
        shown = (f"{np.median(values):8.3f} ({worst(values):.3f})" for values in columns)
        print(f"{key:24s}", *shown)
    device = torch.cuda.get_device_name() if args.device == "cuda" else "cpu"
    times = [result["ms_a_frame"] for result in results]
    print(f"refinement with decoding: {np.median(times):.1f} ms a frame, {device}")
    settings = {k: str(v) for k, v in vars(args).items()} | {"machine": device}
    out = ROOT / "benchmarks" / "results" / "photometric.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(settings | {"results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
