"""Time the tracker and measure its accuracy on clips with known ground truth.

Writes benchmarks/results/tracking.json.

The peer is an independent fit of each frame by Adam with metrical-tracker's landmark terms,
weights, learning rates and 314 steps, keeping the best. It is given the true identity and focal
length and starts from the same poses.

    python benchmarks/tracking.py [--frames 300 1008] [--seeds 0 1 2 3 4] [--device cuda]

Accuracy is measured at the first length, over clips of the given seeds; times and the peer use the
first seed.

Clips of more than 2,000 frames are tracked from files to files in a process of their own, whose
peak memory is measured too (`tracking_scale.py`).
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "workflow_scripts"), str(ROOT)]

from benchmarks import tracking_scale  # noqa: E402
from benchmarks.synthetic_tracks import (  # noqa: E402
    GroundTruth,
    detect,
    head_inputs,
    make_ground_truth,
    write_inputs,
)
from headsplat.camera import project  # noqa: E402
from headsplat.heads.landmarks import (  # noqa: E402
    EYELID_DISTANCE_PAIRS,
    MEDIAPIPE_GROUPS,
    compact,
    points,
)
from headsplat.heads.model import HeadModel  # noqa: E402
from headsplat.heads.skinning import HeadGeometry  # noqa: E402
from headsplat.rotations import (  # noqa: E402
    axis_angle_from_matrix,
    matrix_from_6d,
    matrix_from_axis_angle,
    matrix_to_6d,
)
from headsplat.synthetic.head.head import procedural_head  # noqa: E402
from headsplat.track import read_track  # noqa: E402
from headsplat.tracking.basis import LandmarkBasis  # noqa: E402
from headsplat.tracking.initial import initial_state  # noqa: E402
from headsplat.tracking.intrinsics import given_intrinsics  # noqa: E402
from headsplat.tracking.layout import State, eye_vectors  # noqa: E402
from headsplat.tracking.observations import Observations, read_observations  # noqa: E402
from headsplat.tracking.outputs import jitter  # noqa: E402
from headsplat.tracking.schedule import ClipTracker  # noqa: E402

LONG = 2000  # frames
PEER_STEPS, PEER_FRAMES = 314, 6
RATES = {"exp": 0.025, "eyes": 0.001, "lids": 0.001, "jaw": 0.001, "R": 0.2, "t": 0.003}


@dataclass
class Solved:
    """A solved clip and its wall time."""

    tracker: ClipTracker
    basis: LandmarkBasis
    state: State
    seconds: float


def observe(head: HeadModel, ground_truth: GroundTruth, noise: float) -> Observations:
    landmarks, crop = detect(head, ground_truth, noise)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder, landmarks, crop)
        files = ("landmarks.npz", "crop.json", "frames.tsv")
        return read_observations(*(folder / file for file in files))


def solve(
    head: HeadModel, observed: Observations, focal: float, tied: bool = True, device: str = "cpu"
) -> Solved:
    start = time.perf_counter()
    basis = LandmarkBasis(head, device=device)
    camera = given_intrinsics(f"{focal},{focal},256,256", observed.crop)
    tracker = ClipTracker(basis, observed, camera, lambda *_: None, lambda _: None)
    tracker.linked = tracker.linked & tied
    state = tracker.solve()
    state = State(state.frame.cpu(), state.rotation.cpu(), state.shared.cpu())
    return Solved(tracker, basis, state, time.perf_counter() - start)


def frames_per_end(errors: np.ndarray, count: int = 10) -> tuple[float, float]:
    """Median error of the first and last `count` frames, and of all others."""
    ends = np.r_[errors[:count], errors[-count:]]
    return float(np.median(ends)), float(np.median(errors[count:-count]))


def turn_errors(rotation: Tensor, ground_truth: GroundTruth) -> np.ndarray:
    """(N,) degrees."""
    off = rotation @ torch.as_tensor(ground_truth.rotation).mT
    return torch.rad2deg(axis_angle_from_matrix(off).norm(dim=-1)).numpy()


def turn_error(
    rotation: Tensor, ground_truth: GroundTruth, rows: slice | np.ndarray = slice(None)
) -> float:
    """Median degrees."""
    off = rotation @ torch.as_tensor(ground_truth.rotation[rows]).mT
    return float(torch.rad2deg(axis_angle_from_matrix(off).norm(dim=-1)).median())


def vertex_error(head: HeadModel, solved: Solved, ground_truth: GroundTruth) -> tuple[float, float]:
    """Median mm over the face: as it is, and after the best similarity transform."""
    layout, state = solved.tracker.layout, solved.state
    frame = state.frame[::10]
    geometry = HeadGeometry(head, dtype=torch.float64)
    shape = solved.basis.identity_space.coefficients(state.shared[layout.identity].numpy())
    exp = solved.basis.expression_space.coefficients(frame[:, layout.expression].numpy())
    found = geometry.vertices(
        torch.as_tensor(shape),
        torch.as_tensor(exp),
        matrix_from_axis_angle(frame[:, layout.jaw]),
        matrix_from_axis_angle(eye_vectors(frame[:, layout.eyes])),
        frame[:, layout.lids],
    )
    inputs = head_inputs(ground_truth)
    shape = inputs.pop("shape")
    true = geometry.vertices(shape, **{name: value[::10] for name, value in inputs.items()})
    face = torch.as_tensor(head.regions["face"]).long()
    a, b = found[:, face], true[:, face]
    raw = (a - b).norm(dim=-1)
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    left, sizes, right = torch.linalg.svd(a.mT @ b)
    scale = sizes.sum(-1) / a.square().sum((1, 2))
    aligned = (scale[:, None, None] * (a @ (left @ right)) - b).norm(dim=-1)
    return 1000 * float(raw.median()), 1000 * float(aligned.median())


class Peer:
    """metrical-tracker's landmark energy of one frame, minimized by Adam."""

    def __init__(self, head: HeadModel, ground_truth: GroundTruth) -> None:
        ids, (self._marks,) = compact(head.landmarks["mediapipe"])
        self._ids = torch.as_tensor(ids)
        self._geometry = HeadGeometry(head)
        self._shape = torch.as_tensor(ground_truth.shape, dtype=torch.float32)
        self._camera = torch.tensor([ground_truth.focal, ground_truth.focal, 0.0, 0.0])
        index = self._marks.index
        row = {int(number): k for k, number in enumerate(index)}
        weight = torch.full((len(index),), 7000.0)
        weight[np.isin(index, MEDIAPIPE_GROUPS["nose"])] *= 8
        for name in ("lips_outer", "lips_inner"):
            weight[np.isin(index, MEDIAPIPE_GROUPS[name])] += 15000
        for name in ("left_iris", "right_iris"):
            weight[np.isin(index, MEDIAPIPE_GROUPS[name])] = 1000
        weight[np.isin(index, MEDIAPIPE_GROUPS["oval"])] = 0
        self._weight = weight / len(index)
        pairs = [pair for side in EYELID_DISTANCE_PAIRS.values() for pair in side]
        self._upper = [row[a] for a, _ in pairs]
        self._lower = [row[b] for _, b in pairs]

    def fit(self, target: Tensor, rotation: Tensor, translation: Tensor) -> tuple[Tensor, float]:
        """Rotation (1, 3, 3) and median residual in pixels.

        Args:
            target: (L, 2) detected points from the principal point, rows of the head's set.
            rotation: (1, 3, 3) start.
            translation: (1, 3) start.
        """
        rest = torch.tensor([[1.0, 0, 0, 0, 1, 0]])
        values = {
            "exp": torch.zeros(1, len(self._geometry.model.expression_std)),
            "eyes": rest.repeat(1, 2),
            "lids": torch.zeros(1, 2),
            "jaw": rest.clone(),
            "R": matrix_to_6d(rotation.float()),
            "t": translation.float().clone(),
        }
        for value in values.values():
            value.requires_grad_()
        groups = [{"params": [value], "lr": RATES[name]} for name, value in values.items()]
        optimizer = torch.optim.Adam(groups)
        best = (float("inf"), rotation.float(), 0.0)
        for _ in range(PEER_STEPS):
            seen = self._project(values)
            loss = self._energy(values, seen, target)
            optimizer.zero_grad()
            loss.backward()
            if loss.item() < best[0]:
                residual = (seen - target).norm(dim=-1).median().item()
                best = (loss.item(), matrix_from_6d(values["R"].detach()), residual)
            optimizer.step()
        return best[1], best[2]

    def _project(self, values: dict[str, Tensor]) -> Tensor:
        vertices = self._geometry.vertices(
            self._shape,
            values["exp"],
            matrix_from_6d(values["jaw"]),
            matrix_from_6d(values["eyes"].reshape(1, 2, 6)),
            values["lids"],
            vertex_ids=self._ids,
        )
        marks = points(vertices, self._marks)
        return project(marks, matrix_from_6d(values["R"]), values["t"], self._camera)[0, :, :2]

    def _energy(self, values: dict[str, Tensor], seen: Tensor, target: Tensor) -> Tensor:
        off = (seen - target) / 512
        rest = torch.tensor([1.0, 0, 0, 0, 1, 0])
        left, right = values["eyes"][:, :6], values["eyes"][:, 6:]
        opening = off[self._upper] - off[self._lower]
        loss = (self._weight[:, None] * off.square()).sum() / 2 + 1000 * opening.square().mean()
        loss = loss + 0.02 * values["exp"].square().sum() + 8 * (left - right).square().sum()
        loss = loss + 0.05 * (values["jaw"] - rest).square().sum()
        loss = loss + values["lids"].diff().square().sum()
        return loss + (left - rest).square().sum() + (right - rest).square().sum()


def run_peer(head: HeadModel, ground_truth: GroundTruth, solved: Solved) -> dict[str, float]:
    """Seconds per frame, rotation error and residual of the peer on some frames."""
    peer = Peer(head, ground_truth)
    frames = np.linspace(0, len(ground_truth.exp) - 1, PEER_FRAMES).astype(int)
    terms, layout = solved.tracker.terms, solved.tracker.layout
    marks = head.landmarks["mediapipe"].index
    order = [int(np.flatnonzero(solved.basis.index == number)[0]) for number in marks]
    start = initial_state(
        terms, layout, solved.tracker.priors.shared_mean, solved.tracker.observed.linked
    )
    begin = time.perf_counter()
    rotations, residuals = [], []
    for frame in frames:
        rows = slice(frame, frame + 1)
        part = start.part(rows)
        target = terms.points[frame, order].float()
        # Steps this small are faster on the CPU.
        given = (target, part.rotation, part.translation(layout))
        rotation, residual = peer.fit(*(tensor.cpu() for tensor in given))
        rotations.append(rotation.double())
        residuals.append(residual)
    seconds = (time.perf_counter() - begin) / PEER_FRAMES
    error = turn_error(torch.cat(rotations), ground_truth, frames)
    return {"seconds": seconds, "turn": error, "residual": float(np.median(residuals))}


def add_seeds(add: Callable, head: HeadModel, count: int, noise: float, seeds: list[int]) -> None:
    """Rows of the median and the worst of several clips.

    The constant part of a clip's rotation error belongs to the identity; the rest is its spread.
    """
    turns, spreads, raws, aligned = [], [], [], []
    for seed in seeds:
        ground_truth = make_ground_truth(head, count, seed=seed)
        solved = solve(head, observe(head, ground_truth, noise), ground_truth.focal)
        off = torch.as_tensor(ground_truth.rotation).mT @ solved.state.rotation
        off = torch.rad2deg(axis_angle_from_matrix(off))
        turns.append(float(off.norm(dim=-1).median()))
        spreads.append(float((off - off.mean(0)).norm(dim=-1).median()))
        for values, value in zip(
            (raws, aligned), vertex_error(head, solved, ground_truth), strict=True
        ):
            values.append(value)
        print(f"seed {seed}: {turns[-1]:.3f} degrees, spread {spreads[-1]:.3f}; {raws[-1]:.2f} mm")
    clips = f"{len(seeds)} clips"
    for what, values, unit, target in (
        ("head rotation error", turns, "degree", 0.4),
        ("head rotation error less its mean", spreads, "degree", None),
        ("face vertex error", raws, "mm", 1.5),
        ("face vertex error after scale and rigid motion", aligned, "mm", None),
    ):
        add(f"{what}, median of {clips}", float(np.median(values)), unit, target)
        add(f"{what}, worst of {clips}", max(values), unit, target)


def add_long(add: Callable, head: HeadModel, count: int, noise: float, device: str) -> None:
    """Rows of one long clip."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ground_truth = tracking_scale.write_clip(head, count, folder, noise)
        got = tracking_scale.measure(folder, device)
        rotation = torch.as_tensor(read_track(folder / "track.npz").R).double()
    what = f"{count} frames, {device}"
    add(f"landmark solve, {what}", got["solve"], "s", 20 if count < 20000 else None)
    add(f"tracking stage, {what}, first run in a process", got["cold"], "s")
    if "warm" in got:
        add(f"tracking stage, {what}, second run", got["warm"], "s")
    add(f"peak memory, {what}", got["host_mib"] / 1024, "GiB", 4)
    if "gpu_mib" in got:
        add(f"peak memory on the GPU, {what}", got["gpu_mib"] / 1024, "GiB", 4)
    add(f"head rotation error, {what}", turn_error(rotation, ground_truth), "degree", 0.4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, nargs="+", default=[300, 1008])
    parser.add_argument("--noise", type=float, default=1.0, help="pixels at 512")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="of the clips"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(1)
    head = procedural_head()
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    if args.device == "cuda":
        machine = torch.cuda.get_device_name()
    rows: list[dict] = []

    def add(what: str, value: float, unit: str, target=None, peer=None, peer_value=None) -> None:
        ratio = None if peer_value is None else round(peer_value / max(value, 1e-12), 3)
        rows.append(
            {
                "what": what, "value": round(value, 4), "unit": unit, "target": target,
                "peer": peer, "peer_value": peer_value and round(peer_value, 4), "ratio": ratio,
                "machine": machine,
            }
        )  # fmt: skip
        print(f"{what:58s} {value:10.4g} {unit:8s} target {target}  peer {peer_value} x{ratio}")

    for count in args.frames:
        if count > LONG:
            add_long(add, head, count, args.noise, args.device)
            continue
        ground_truth = make_ground_truth(head, count, seed=args.seeds[0])
        observed = observe(head, ground_truth, args.noise)
        solved = solve(head, observed, ground_truth.focal, device=args.device)
        add(f"landmark solve, {count} frames", solved.seconds, "s", 10 if count <= 300 else 20)
        if count != args.frames[0]:
            continue
        peer = run_peer(head, ground_truth, solved)
        name = "Adam per frame, metrical-tracker's landmark terms"
        add("time a frame", solved.seconds / count, "s", None, name, peer["seconds"])
        own = turn_error(solved.state.rotation, ground_truth)
        add(f"head rotation error, {args.noise} px noise", own, "degree", 0.4, name, peer["turn"])
        ends, middle = frames_per_end(turn_errors(solved.state.rotation, ground_truth))
        add("head rotation error, first and last ten frames against the rest", ends / middle, "")
        raw, aligned = vertex_error(head, solved, ground_truth)
        add("face vertex error", raw, "mm", 1.5)
        add("face vertex error after scale and rigid motion", aligned, "mm")
        alone = solve(head, observed, ground_truth.focal, tied=False, device=args.device)
        tied = torch.as_tensor(observed.linked)
        ours = jitter(solved.tracker.layout, solved.state, tied)
        theirs = jitter(solved.tracker.layout, alone.state, tied)
        for part in ("turn", "jaw"):
            what = f"high-pass energy of {part}, share of independent frames'"
            add(what, (ours[part] / theirs[part]) ** 2, "", 1 / 3)
        add_seeds(add, head, count, args.noise, args.seeds)
    out = ROOT / "benchmarks" / "results" / "tracking.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
