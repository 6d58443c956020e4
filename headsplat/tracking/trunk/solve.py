"""The trunk's pose from the images of a clip, and the track that holds it."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.linalg import solveh_banded

from headsplat.heads.model import HeadModel
from headsplat.rotations import (
    axis_angle_from_matrix,
    matrix_from_axis_angle,
    matrix_to_6d,
    mean_rotation,
)
from headsplat.runtime.logs import log
from headsplat.track import Track, read_track, write_track
from headsplat.tracking.trunk.flow import SmallFrames
from headsplat.tracking.trunk.graph import Poses, Steps, solve_poses
from headsplat.tracking.trunk.measure import TrunkMeter
from headsplat.tracking.trunk.surface import TrunkSurface

MEDIAN_ROUNDS = 20
# The search starts at the slow part of the head's turns: crossover frequency, Hz.
RATE = 0.25


def add_trunk(
    head_path: Path, track_path: Path, frames: Sequence[Path], mattes: Sequence[Path], out: Path
) -> None:
    """The stage of imported tracks: publish a track with its trunk.

    Frames of consecutive numbers count as linked, because other tools note no cuts.

    Args:
        head_path: head model `.npz` of the track.
        track_path: the imported track.
        frames: `frames/*.zip`; without any, the track is published as it is.
        mattes: `alpha/*.zip`.
        out: track to write.

    Raises:
        UserError: inputs that cannot be used or do not belong together.
    """
    head = HeadModel.load(head_path)
    track = read_track(track_path, head)
    if frames:
        # Threads work on separate frames; the matrices are too small for parallel kernels.
        torch.set_num_threads(1)
        linked = np.diff(np.asarray(track.ids)) == 1
        track = solve_trunk(track, head, frames, mattes, linked)
    write_track(out, track)


def solve_trunk(
    track: Track,
    head: HeadModel,
    frames: Sequence[Path],
    mattes: Sequence[Path],
    linked: np.ndarray,
) -> Track:
    """The track with `trunk_R`, `trunk_t` and `neck`.

    Args:
        track: of the clip; the head's pose is kept.
        head: its head model.
        frames: `frames/*.zip`.
        mattes: `alpha/*.zip`.
        linked: (N - 1,) bool, False at cuts.

    Raises:
        UserError: an image is missing, damaged or of another size.
    """
    surface = TrunkSurface(head, track)
    R, t = (np.asarray(a, np.float64) for a in (track.R, track.t))
    joint = R @ surface.joint + t
    start = slow_turns(R, linked, track.fps)
    place = joint + start @ (surface.anchor - surface.joint)
    with SmallFrames(frames, mattes, track.width) as images:
        steps = _joined(TrunkMeter(surface, track, images, Poses(start, place), linked).measure())
    lever = surface.joint - surface.anchor
    poses = solve_poses(Poses(start, place), Poses(R, joint), lever, steps, linked, track.fps)
    turn, shift = poses.turn, poses.place - poses.turn @ surface.anchor
    turn, shift = _rest_at_median(turn, shift, R, t)
    neck = turn.transpose(0, 2, 1) @ R
    log.info("trunk: %d steps between %d frames", len(steps.first), len(track))
    return replace(
        track,
        trunk_R=turn,
        trunk_t=shift,
        neck=matrix_to_6d(torch.from_numpy(neck)).numpy(),
    )


def _joined(measured: Iterable[Steps]) -> Steps:
    parts = list(measured)
    names = ("first", "second", "turn", "shift", "center", "information")
    return Steps(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))


def _rest_at_median(
    turn: np.ndarray, shift: np.ndarray, R: np.ndarray, t: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The same motion with the resting trunk at the clip's median relation to the head."""
    back = turn.transpose(0, 2, 1)
    relative = torch.from_numpy(back @ R)
    place = np.einsum("nij,nj->ni", back, t - shift)
    weights = torch.ones(len(relative), dtype=torch.float64)
    for _ in range(MEDIAN_ROUNDS):
        middle = mean_rotation(relative, weights)
        weights = 1 / (relative - middle).flatten(1).norm(dim=1).clamp_min(1e-3)
    rest = middle.numpy()
    return turn @ rest, shift + turn @ np.median(place, axis=0)


def slow_turns(turns: np.ndarray, linked: np.ndarray, fps: float) -> np.ndarray:
    """Rotations smoothed by a penalty on second differences (Whittaker 1923), piece by piece.

    Args:
        turns: (N, 3, 3) of the head.
        linked: (N - 1,) bool, False at cuts.
        fps: frames a second.

    Returns:
        (N, 3, 3) float64.
    """
    weight = (fps / (2 * math.pi * RATE)) ** 4
    whole = torch.as_tensor(np.asarray(turns, dtype=np.float64))
    slow = torch.empty_like(whole)
    bounds = [0, *(np.flatnonzero(~np.asarray(linked, dtype=bool)) + 1), len(whole)]
    for low, high in zip(bounds[:-1], bounds[1:], strict=True):
        piece = whole[low:high]
        mean = mean_rotation(piece)
        away = axis_angle_from_matrix(piece @ mean.mT).numpy()
        slow[low:high] = matrix_from_axis_angle(torch.as_tensor(_smooth(away, weight))) @ mean
    return slow.numpy()


def _smooth(values: np.ndarray, weight: float) -> np.ndarray:
    """(n, k) -> (n, k): least |x - values|^2 + weight |second differences of x|^2."""
    count = len(values)
    bands = np.zeros((3, count))  # upper form: second diagonal above, first above, the diagonal
    bands[2] = 1.0
    for offset, step in enumerate((1.0, -2.0, 1.0)):
        bands[2, offset : count - 2 + offset] += weight * step**2
    if count > 2:
        bands[1, 1:-1] += -2 * weight
        bands[1, 2:] += -2 * weight
        bands[0, 2:] += weight
    return solveh_banded(bands, values)
