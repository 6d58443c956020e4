"""Head, brows, gaze and lids, played from stretches of the subject's own clip.

Stretches of three seconds are chosen by dynamic programming. Pose and velocity agree where two of
them meet, and the subject spoke where the new sound is speech. They fade into each other. What is
played together was seen together, within the range of the clip.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headsplat.frame_code import FrameCode
from headsplat.rotations import (
    axis_angle_from_matrix,
    matrix_from_6d,
    matrix_to_6d,
    mean_rotation,
    slerp,
)
from headsplat.track import Track

STRETCH, FADE = 3.0, 0.5  # seconds
LEAST_CLIP = 10.0  # seconds of usable frames, below which motion repeats visibly
STEP = 0.2  # seconds between the starts of candidates
MOST_CANDIDATES = 400
# Frames between which the head jumps are a cut: degrees and meters per frame at 25 frames a second.
CUT_TURN, CUT_SHIFT = 5.0, 0.02
# Costs of playing one stretch after another.
TURN_COST = 0.3  # a degree of turn
SPEED_COST = 3.0  # a degree a frame of velocity
SHIFT_COST = 100.0  # a meter
EYE_COST = 0.05  # a degree of gaze
REPEAT_COST = 2.0  # a stretch after itself
# Costs of playing a stretch at some time of the new sound.
PAUSE_COST = 2.0  # all of its frames are speech and the sound is not, or the other way around
LOUD_COST = 0.5  # a unit of loudness
AWAY_COST = 0.03  # a degree of turn from the mean pose, so that short videos show the face


@dataclass(frozen=True, eq=False)
class Texture:
    """Motion of everything but the mouth, n frames, float64.

    Attributes:
        condition: (n, C) frame codes; their mouths are to be replaced.
        rotation: (n, 3, 3) head to OpenCV camera.
        translation: (n, 3) meters.
    """

    condition: Tensor
    rotation: Tensor
    translation: Tensor


def usable_runs(track: Track) -> list[np.ndarray]:
    """Rows of consecutive frames that show a face and no cut, long enough for a stretch."""
    rows = np.flatnonzero(~track.interpolated)
    rows = rows[np.argsort(track.ids[rows], kind="stable")]
    rotation = torch.from_numpy(track.R[rows].astype("f8"))
    turn = axis_angle_from_matrix(rotation[:-1].mT @ rotation[1:]).norm(dim=-1).numpy()
    shift = np.linalg.norm(np.diff(track.t[rows], axis=0), axis=1)
    usual = 25 / track.fps
    breaks = (np.diff(track.ids[rows]) != 1) | (np.rad2deg(turn) > CUT_TURN * usual)
    breaks |= shift > CUT_SHIFT * usual
    runs = np.split(rows, np.flatnonzero(breaks) + 1)
    return [run for run in runs if len(run) >= sum(_sizes(track.fps))]


def _sizes(fps: float) -> tuple[int, int]:
    """Frames of a stretch, and of the fade after it; at least one, at any frame rate."""
    return max(1, round(STRETCH * fps)), max(1, round(FADE * fps))


def play_clip(
    track: Track,
    count: int,
    spoken: np.ndarray | None,
    loud: np.ndarray | None,
    clip_spoken: np.ndarray | None,
    clip_loud: np.ndarray | None,
) -> Texture | None:
    """Motion of `count` frames at the track's frame rate from stretches of the track.

    Args:
        track: the subject's, N frames.
        count: frames to make.
        spoken: (count,) whether the new sound is speech; None chooses by motion alone.
        loud: (count,) its loudness, of mean 0 and deviation 1.
        clip_spoken: (N,) the same of the clip.
        clip_loud: (N,) likewise.

    Returns:
        The motion; None for a clip with less than ten usable seconds.
    """
    length, fade = _sizes(track.fps)
    starts = _candidates(track, length + fade)
    if not starts:
        return None
    slots = max(1, -(-(count - fade) // length))
    windows = np.stack([run[s : s + length] for run, s in starts])
    fit = np.tile(AWAY_COST * _away(track)[windows].mean(1), (slots, 1))
    if spoken is not None:
        for slot in range(slots):
            part = slice(slot * length, min((slot + 1) * length, count))
            rows = windows[:, : part.stop - part.start]
            fit[slot] = PAUSE_COST * (clip_spoken[rows] != spoken[part]).mean(1)
            fit[slot] += LOUD_COST * np.abs(clip_loud[rows] - loud[part]).mean(1)
    chosen = _cheapest(fit, _joins(track, starts, length, fade))
    pieces = [starts[k][0][starts[k][1] : starts[k][1] + length + fade] for k in chosen]
    return _faded(track, pieces, count, length, fade)


def loop_clip(track: Track, seconds: float) -> Texture | None:
    """Endless motion for sounds of unknown length: its last frame leads into its first.

    Args:
        track: the subject's.
        seconds: length, about.

    Returns:
        The motion; None for a clip with less than ten usable seconds.
    """
    length, fade = _sizes(track.fps)
    starts = _candidates(track, length + fade)
    if not starts:
        return None
    slots = max(2, round(seconds / STRETCH))
    chosen = _cheapest(np.zeros((slots, len(starts))), _joins(track, starts, length, fade))
    pieces = [starts[k][0][starts[k][1] : starts[k][1] + length + fade] for k in chosen]
    whole = _faded(track, [*pieces, pieces[0]], slots * length + fade, length, fade)
    return Texture(whole.condition[fade:], whole.rotation[fade:], whole.translation[fade:])


def _candidates(track: Track, size: int) -> list[tuple[np.ndarray, int]]:
    """(run, first place in it) of the stretches of `size` frames; none of a short clip."""
    runs, step = usable_runs(track), max(1, round(STEP * track.fps))
    if sum(map(len, runs)) < LEAST_CLIP * track.fps:
        return []
    every = [(run, start) for run in runs for start in range(0, len(run) - size + 1, step)]
    stride = -(-len(every) // MOST_CANDIDATES)
    return every[::stride]


def _features(track: Track) -> np.ndarray:
    """(N, 8) turn, position and gaze in units of cost."""
    rotation = torch.from_numpy(track.R.astype("f8"))
    turn = axis_angle_from_matrix(rotation[:1].mT @ rotation).numpy()
    gaze = axis_angle_from_matrix(matrix_from_6d(torch.from_numpy(track.eyes.astype("f8"))[:, :6]))
    return np.column_stack([
        TURN_COST * np.rad2deg(turn), SHIFT_COST * track.t,
        EYE_COST * np.rad2deg(gaze.numpy()[:, :2]),
    ])  # fmt: skip


def _away(track: Track) -> np.ndarray:
    """(N,) degrees between each pose and the mean pose."""
    rotation = torch.from_numpy(track.R.astype("f8"))
    turn = axis_angle_from_matrix(mean_rotation(rotation).mT @ rotation)
    return np.rad2deg(turn.norm(dim=-1).numpy())


def _joins(
    track: Track, starts: list[tuple[np.ndarray, int]], length: int, fade: int
) -> np.ndarray:
    """(c, c) cost of playing a stretch (column) after another (row)."""
    features = _features(track)
    middle = fade // 2
    tail = np.array([run[s + length + middle] for run, s in starts])
    head = np.array([run[s + middle] for run, s in starts])
    step = SPEED_COST / TURN_COST
    after = np.column_stack([features[tail], step * (features[tail] - features[tail - 1])])
    before = np.column_stack([features[head], step * (features[head] - features[head - 1])])
    cost = np.abs(after[:, None] - before[None]).sum(-1)
    # A stretch after itself is a loop that viewers notice.
    cost[np.abs(head[:, None] - head[None]) < length] += REPEAT_COST
    return cost


def _cheapest(fit: np.ndarray, joins: np.ndarray) -> list[int]:
    """Sequence of candidates, one a slot, of the lowest sum of costs (Viterbi)."""
    total, back = fit[0].copy(), []
    for costs in fit[1:]:
        through = total[:, None] + joins
        back.append(through.argmin(0))
        total = through.min(0) + costs
    sequence = [int(total.argmin())]
    for pointers in reversed(back):
        sequence.append(int(pointers[sequence[-1]]))
    return sequence[::-1]


def _faded(track: Track, pieces: list[np.ndarray], count: int, length: int, fade: int) -> Texture:
    """The stretches in turn, each faded into the next."""
    first = np.concatenate([piece[:length] for piece in pieces[:-1]] + [pieces[-1]])
    second, share = first.copy(), np.zeros(len(first))
    ramp = (np.arange(fade) + 0.5) / fade
    for number, piece in enumerate(pieces[:-1], 1):
        # The end of one stretch fades out while the next one begins.
        place = slice(number * length, number * length + fade)
        second[place] = piece[length:]
        share[place] = 1 - ramp * ramp * (3 - 2 * ramp)
    first, second = first[:count], second[:count]
    weight = torch.from_numpy(share[:count])[:, None]
    a, b = (FrameCode(track[rows].codes(torch.float64).vector) for rows in (first, second))
    joints = slerp(matrix_from_6d(a.joints), matrix_from_6d(b.joints), weight[..., None])
    six = matrix_to_6d(joints)
    condition = FrameCode.pack(
        torch.lerp(a.exp, b.exp, weight), six[:, 0], six[:, 1:].flatten(1),
        torch.lerp(a.eyelids, b.eyelids, weight),
    ).vector  # fmt: skip
    (ra, ta), (rb, tb) = (track[rows].poses(torch.float64) for rows in (first, second))
    return Texture(condition, slerp(ra, rb, weight), torch.lerp(ta, tb, weight))
