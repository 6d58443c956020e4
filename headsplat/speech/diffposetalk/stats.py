"""Statistics that normalize DiffPoseTalk's codes, from the official file or a subject's track.

z = (x - mean) / std, for 100 shape coefficients, 50 expressions and 6 pose angles (global and jaw
axis-angle). The official file's deviations are means of the deviation within windows of four
seconds, and so are those of a track.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from headsplat.drive.motion import Motion
from headsplat.rotations import axis_angle_from_matrix, matrix_from_6d
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import read_npz
from headsplat.speech.diffposetalk.settings import EXPRESSIONS, SHAPE
from headsplat.track import Track

POSE, SECONDS = 6, 4.0
_SIZES = {"shape": SHAPE, "exp": EXPRESSIONS, "pose": POSE}
# Angles that vary: of the jaw only the one about x.
_MOVED = 4
_LEAST = 1e-4  # lowest deviation taken from a track, for parts that stand still
_LARGEST = 1e6
_FIX = "give the official stats_train.npz"


@dataclass(frozen=True)
class Stats:
    """Means and deviations, float32: shape (100,), exp (50,), pose (6,)."""

    shape_mean: np.ndarray
    shape_std: np.ndarray
    exp_mean: np.ndarray
    exp_std: np.ndarray
    pose_mean: np.ndarray
    pose_std: np.ndarray

    def normalized_shape(self, shape: np.ndarray) -> np.ndarray:
        """(S,) identity, S >= 100 -> (100,)."""
        return (shape[:SHAPE] - self.shape_mean) / self.shape_std

    def normalized(self, exp: np.ndarray, pose: np.ndarray, with_head: bool) -> np.ndarray:
        """Codes as the networks take them.

        Args:
            exp: (N, 50).
            pose: (N, 6); the jaw's turns about y and z are left out, whose deviation is 0.
            with_head: keep the head's rotation.

        Returns:
            (N, 54), or (N, 51) without the head.
        """
        angles = slice(0 if with_head else 3, _MOVED)
        turned = (pose[:, angles] - self.pose_mean[angles]) / self.pose_std[angles]
        return np.concatenate([(exp - self.exp_mean) / self.exp_std, turned], 1)

    def codes(self, motion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N, 54 or 51) from a network -> exp (N, 50), pose (N, 6).

        The head's rotation is exactly 0 for networks that do not predict it.
        """
        exp = motion[:, :EXPRESSIONS] * self.exp_std + self.exp_mean
        angles = motion[:, EXPRESSIONS:]
        pose = np.tile(self.pose_mean, (len(motion), 1))
        pose[:, _MOVED - angles.shape[1] : _MOVED] += (
            angles * self.pose_std[_MOVED - angles.shape[1] : _MOVED]
        )
        if angles.shape[1] == 1:
            pose[:, :3] = 0
        return exp, pose


def read_stats(path: Path | str) -> Stats:
    """Read the official `stats_train.npz`; other arrays in it are ignored.

    Raises:
        UserError: unreadable, an array is missing or misshapen, or a deviation is not positive.
    """
    names = [f"{part}_{kind}" for part in _SIZES for kind in ("mean", "std")]
    arrays = read_npz(path, names, _FIX)
    found = {}
    for name in names:
        array, size = arrays[name], _SIZES[name.partition("_")[0]]
        if array.shape != (size,) or array.dtype.kind not in "fiu":
            raise UserError(
                f"{path}: '{name}' is {array.dtype} of shape {list(array.shape)}, expected "
                f"numbers of [{size}]; {_FIX}"
            )
        found[name] = array.astype(np.float32)
        if not (np.abs(found[name]) < _LARGEST).all():
            raise UserError(f"{path}: '{name}' holds numbers beyond {_LARGEST:g}; {_FIX}")
    for name in ("shape_std", "exp_std", "pose_std"):
        if not (found[name][: _MOVED if name == "pose_std" else None] > 0).all():
            raise UserError(f"{path}: '{name}' is not above 0; {_FIX}")
    return Stats(**found)


def stats_of(track: Track, shape: np.ndarray, fps: int) -> Stats:
    """Statistics of a subject's own track, whose normalized shape is then 0.

    Args:
        track: of FLAME 2020.
        shape: (S,) the subject's identity, S >= 100.
        fps: frames a second of the networks.
    """
    exp, pose = track_codes(track, fps)
    span = round(SECONDS * fps)
    windows = np.array_split(np.arange(len(exp)), max(1, len(exp) // span))

    def deviation(values: np.ndarray) -> np.ndarray:
        return np.mean([values[rows].std(0) for rows in windows], 0).clip(_LEAST)

    still = np.ones(SHAPE)
    values = (shape[:SHAPE], still, exp.mean(0), deviation(exp), pose.mean(0), deviation(pose))
    stats = Stats(*(np.asarray(value, np.float32) for value in values))
    stats.pose_mean[_MOVED:] = stats.pose_std[_MOVED:] = 0
    return stats


def track_codes(track: Track, fps: int) -> tuple[np.ndarray, np.ndarray]:
    """A track's codes as DiffPoseTalk's: exp (N, 50) and pose (N, 6), float64, at `fps`.

    The head's rotation is that in a still world with y up, in which a face that looks into the
    camera has none.

    Raises:
        UserError: fewer than 50 expressions a frame, or no frames.
    """
    if len(track) == 0 or track.exp.shape[1] < EXPRESSIONS:
        raise UserError(
            f"the track has {len(track)} frames of {track.exp.shape[1]} expressions, "
            f"DiffPoseTalk needs {EXPRESSIONS} of FLAME 2020; track the clip with that head"
        )
    order = np.argsort(track.ids)
    times = torch.from_numpy((track.ids[order] - track.ids.min()) / track.fps)
    rotation = torch.from_numpy(np.ascontiguousarray(track.head_R[order])).double()
    whole = Motion(
        times, track.codes(torch.float64).vector[order], rotation, rotation.new_zeros(len(order), 3)
    ).resample(fps)
    jaw = whole.condition[:, track.exp.shape[1] :][:, :6]
    pose = torch.cat(
        [axis_angle_from_matrix(whole.rotation), axis_angle_from_matrix(matrix_from_6d(jaw))], 1
    )
    return whole.condition[:, :EXPRESSIONS].numpy(), pose.numpy()
