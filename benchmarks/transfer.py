"""Measure the transfer of faces between tracked people, before and after.

    python benchmarks/transfer.py --head work/heads/ict.npz work/*/track/track.npz

Writes benchmarks/results/transfer.json. Every track drives every other one. The peer is `face`
`absolute`, the driver's codes as they are. Both are measured on the subject's posed mesh, before
codes are clamped.
"""

import argparse
import json
import os
import platform
import sys
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from headsplat.drive.face_clip import FaceClip, ranked  # noqa: E402
from headsplat.drive.kinds import ABSOLUTE, RELATIVE, MotionOptions  # noqa: E402
from headsplat.drive.limits import DrivingLimits  # noqa: E402
from headsplat.drive.neutral import neutral_face  # noqa: E402
from headsplat.drive.transfer import transfer_face  # noqa: E402
from headsplat.heads.model import HeadModel  # noqa: E402
from headsplat.heads.skinning import HeadGeometry  # noqa: E402
from headsplat.track import read_track  # noqa: E402

NEUTRAL = "driven neutral face to the subject's own, lips and brows"
LIPS = "lips closed by the driver: opening beyond the driver's, 90th percentile"
EYES = "deepest blink: opening beyond the subject's own"
CODES = "codes beyond the range of the subject's clip"
HALVES = "neutral faces of the two halves of a clip, distance"
MM = 1e3


def distance(clip: FaceClip, first: Tensor, second: Tensor) -> float:
    """Root mean square distance of lips and brows, mm."""
    a, b = (torch.cat(list(clip.mesh.points(code[None]))) for code in (first, second))
    return float((a - b).square().sum(-1).mean().sqrt() * MM)


def lips(clip: FaceClip, codes: Tensor) -> Tensor:
    """(N,) opening beyond the neutral face's, mm."""
    neutral = neutral_face(clip)
    return (clip.mesh.opening(codes) - clip.mesh.opening(neutral[None])) * MM


def measured(
    driver: FaceClip, subject: FaceClip, limits: DrivingLimits, face: str
) -> dict[str, float]:
    """Measure -> value for one pair."""
    codes = transfer_face(driver, subject, MotionOptions(face=face))
    driven = neutral_face(replace(driver, codes=codes, mesh=subject.mesh))
    wide = lips(driver, driver.codes)
    excess = lips(subject, codes) - wide.clamp(min=0)
    closed = driver.usable & (wide <= 1)
    blink, own = (ranked(subject.mesh.eyes(c), 0.005) for c in (codes, subject.codes))
    beyond = (codes < limits.codes[0]) | (codes > limits.codes[1])
    return {
        NEUTRAL: distance(subject, driven, neutral_face(subject)),
        LIPS: float(ranked(excess[closed], 0.9)),
        EYES: float((blink - own).max() * MM),
        CODES: float(beyond.double().mean() * 100),
    }


def halves(clip: FaceClip) -> float:
    """Distance of the neutral faces of a clip's halves, mm."""
    middle = len(clip.codes) // 2
    names = ("codes", "times", "ids", "usable")
    parts = [
        replace(clip, **{name: getattr(clip, name)[rows] for name in names})
        for rows in (slice(None, middle), slice(middle, None))
    ]
    return distance(clip, *(neutral_face(part) for part in parts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--head", type=Path, required=True, help="head model of all tracks")
    parser.add_argument("tracks", type=Path, nargs="+", help="two track.npz or more")
    args = parser.parse_args()
    head = HeadModel.load(args.head)
    geometry = HeadGeometry(head, dtype=torch.float64)
    tracks = [read_track(path, head) for path in args.tracks]
    people = [
        FaceClip.from_track(str(path), track, geometry)
        for path, track in zip(args.tracks, tracks, strict=True)
    ]
    found: dict[str, list[dict[str, float]]] = {RELATIVE: [], ABSOLUTE: []}
    for a, b in permutations(range(len(people)), 2):
        limits = DrivingLimits.from_track(tracks[b])
        for face, rows in found.items():
            rows.append(measured(people[a], people[b], limits, face))
            values = ", ".join(f"{value:.2f}" for value in rows[-1].values())
            print(f"{args.tracks[a]} drives {args.tracks[b]}, {face}: {values}")
    write(head.name, found, [halves(clip) for clip in people])


def write(head: str, found: dict[str, list[dict[str, float]]], repeated: list[float]) -> None:
    """Write the medians and the worst of all pairs."""
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    rows = []
    for what, unit in ((NEUTRAL, "mm"), (LIPS, "mm"), (EYES, "mm"), (CODES, "%")):
        ours, theirs = ([row[what] for row in found[face]] for face in (RELATIVE, ABSOLUTE))
        for name, pick in (("median", np.median), ("worst", np.max)):
            rows.append({
                "what": f"{what}, {name} of {len(ours)} pairs, head {head}",
                "value": round(float(pick(ours)), 2), "unit": unit, "target": None,
                "peer": "absolute codes", "peer_value": round(float(pick(theirs)), 2),
                "ratio": None, "machine": machine,
            })  # fmt: skip
    rows.append({
        "what": f"{HALVES}, median of {len(repeated)} clips", "unit": "mm", "target": None,
        "value": round(float(np.median(repeated)), 2), "peer": None, "peer_value": None,
        "ratio": None, "machine": machine,
    })  # fmt: skip
    path = ROOT / "benchmarks" / "results" / "transfer.json"
    path.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
