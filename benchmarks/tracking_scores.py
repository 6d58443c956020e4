"""Lids, gaze and pose of tracks with and without blendshape scores, against ground truth.

Writes benchmarks/results/tracking_scores.json.

The detector is imitated with two faults of MediaPipe's: the points of a shut eye keep 30 % of the
opening, and the iris shows 30 % of the pitch of the gaze. The peer is the same solve without
scores, on the same points. Medians over the seeds.

    python benchmarks/tracking_scores.py [--frames 200] [--seeds 0 1 2]
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "workflow_scripts"), str(ROOT)]

from benchmarks.synthetic_tracks import (  # noqa: E402
    GroundTruth,
    blendshape_scores,
    detect,
    make_ground_truth,
    write_inputs,
)
from benchmarks.tracking import Solved, solve, turn_error, vertex_error  # noqa: E402
from headsplat.heads.model import HeadModel  # noqa: E402
from headsplat.synthetic.head.head import procedural_head  # noqa: E402
from headsplat.tracking.observations import Observations, read_observations  # noqa: E402
from headsplat.tracking.outputs import jitter  # noqa: E402

AJAR, PITCH_SEEN = 0.3, 0.3
TURNED = 15.0  # degrees
SHUT, OPEN = 0.85, 0.2


def observe(head: HeadModel, ground_truth: GroundTruth, noise: float, scores: bool) -> Observations:
    """Detections of a clip, with the faults, and scores on request."""
    seen = replace(
        ground_truth,
        lids=(1 - AJAR) * ground_truth.lids,
        eyes=ground_truth.eyes * np.array([PITCH_SEEN, 1.0, 1.0]),
    )
    landmarks, crop = detect(head, seen, noise)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder, landmarks, crop, blendshape_scores(ground_truth) if scores else None)
        return read_observations(
            *(folder / f for f in ("landmarks.npz", "crop.json", "frames.tsv"))
        )


def errors(head: HeadModel, solved: Solved, ground_truth: GroundTruth) -> dict[str, float]:
    """Error of one solve by its name and unit, separated by a bar."""
    layout, state = solved.tracker.layout, solved.state
    lids = np.abs(state.frame[:, layout.lids].numpy() - ground_truth.lids)
    gaze = np.degrees(state.frame[:, layout.eyes].numpy().reshape(-1, 2, 2))
    gaze = gaze - np.degrees(ground_truth.eyes[..., :2])
    gaze = np.abs(gaze - np.median(gaze, axis=(0, 1)))[ground_truth.lids < OPEN].mean(0)
    yaw = np.degrees(np.arcsin(ground_truth.rotation[:, 2, 0].clip(-1, 1)))
    turned = (np.abs(yaw) > TURNED)[:, None]
    shut, is_open = ground_truth.lids > SHUT, ground_truth.lids < OPEN
    _, aligned = vertex_error(head, solved, ground_truth)
    shaking = jitter(layout, state, torch.as_tensor(solved.tracker.observed.linked))
    return {
        "lids of shut eyes, frontal|of the opening": _mean(lids[shut & ~turned]),
        "lids of shut eyes, turned|of the opening": _mean(lids[shut & turned]),
        "lids of open eyes|of the opening": lids[is_open].mean(),
        "gaze, pitch|degrees": gaze[0],
        "gaze, yaw|degrees": gaze[1],
        "head rotation|degrees": turn_error(state.rotation, ground_truth),
        "face vertices after scale and rigid motion|mm": aligned,
        "jitter of the jaw|degrees": shaking["jaw"],
        "jitter of the head|degrees": shaking["turn"],
    }


def _mean(values: np.ndarray) -> float:
    """NaN for a clip without a blink in this view."""
    return float(values.mean()) if values.size else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--noise", type=float, default=1.0, help="pixels at 512")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    torch.set_num_threads(1)
    head, found = procedural_head(), {True: [], False: []}
    for seed in args.seeds:
        ground_truth = make_ground_truth(head, args.frames, seed=seed)
        for scores in (False, True):
            observed = observe(head, ground_truth, args.noise, scores)
            start = time.process_time()
            solved = solve(head, observed, ground_truth.focal)
            spent = {"processor time|s": time.process_time() - start}
            found[scores].append(errors(head, solved, ground_truth) | spent)
    rows = []
    for name in found[True][0]:
        what, _, unit = name.partition("|")
        with_scores, alone = (
            float(np.nanmedian([one[name] for one in found[scores]])) for scores in (True, False)
        )
        rows.append(
            {
                "what": what, "value": round(with_scores, 4), "unit": unit, "target": None,
                "peer": "landmarks alone", "peer_value": round(alone, 4),
                "ratio": round(alone / with_scores, 3),
                "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
            }
        )  # fmt: skip
        print(f"{what:48s} {with_scores:8.4f}  landmarks alone {alone:8.4f}")
    out = ROOT / "benchmarks" / "results" / "tracking_scores.json"
    out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
