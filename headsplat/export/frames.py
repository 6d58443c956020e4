"""The frames that an export plays: those of the avatar's clip, or of a driving motion."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from headsplat.avatar import Avatar
from headsplat.avatar_files import load_avatar
from headsplat.drive.draw import DrivenFrames
from headsplat.drive.kinds import MotionOptions
from headsplat.drive.run import motion_frames, read_motion
from headsplat.drive.subject import DrivenSubject
from headsplat.heads.model import HeadModel
from headsplat.runtime.errors import UserError
from headsplat.track import Track, read_track


@dataclass(frozen=True)
class MotionFile:
    """A driving motion.

    Attributes:
        path: its file.
        kind: a key of `headsplat.drive.kinds.KINDS`.
        options: of the motion.
    """

    path: Path
    kind: str
    options: MotionOptions


@dataclass(frozen=True)
class Played:
    """An avatar and N frames to play, in a world where the camera stands still.

    World axes: meters, y up, x to the subject's left. The camera looks along -z at the world's
    origin, where the head is.

    Attributes:
        avatar: the avatar.
        track: of its clip.
        frames: codes, poses to the camera and trunk.
        times: (N,) float64 seconds, increasing.
    """

    avatar: Avatar
    track: Track
    frames: DrivenFrames
    times: np.ndarray

    def __len__(self) -> int:
        return len(self.times)

    @property
    def distance(self) -> float:
        """From the camera to the world's origin, meters: the clip's median distance."""
        return float(np.median(self.track.t[:, 2]))

    def world(self) -> tuple[Tensor, Tensor]:
        """Head to world: rotations (N, 3, 3), translations (N, 3) in meters, float64."""
        upright = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))
        away = torch.tensor([0.0, 0.0, self.distance], dtype=torch.float64)
        moved = self.frames.translation.double() - away
        return upright @ self.frames.rotation.double(), moved @ upright


def read_played(
    model: Path, head_path: Path, track_path: Path, motion: MotionFile | None
) -> Played:
    """Load an avatar and what it plays.

    Args:
        model: folder of the trained avatar.
        head_path: its head model.
        track_path: its own track.
        motion: None plays the track.

    Raises:
        UserError: files that cannot be read or do not belong together, or an option that does not
            apply to the kind.
    """
    head = HeadModel.load(head_path)
    track = read_track(track_path, head)
    if len(track) == 0:
        raise UserError(f"{track_path}: has no frames; track the clip again")
    avatar = load_avatar(model, head, "cpu")
    if motion is None:
        order = np.argsort(track.ids, kind="stable")
        ids = track.ids[order].astype(np.float64)
        if (np.diff(ids) <= 0).any():
            raise UserError(f"{track_path}: a frame id occurs twice; track the clip again")
        some = track[order].frames()
        frames = DrivenFrames(some.code.vector, some.rotation, some.translation, some.trunk)
        return Played(avatar, track, frames, (ids - ids[0]) / track.fps)
    subject = DrivenSubject.from_track(
        str(track_path), head, avatar.shape, track, avatar.deformation.code_limit
    )
    driver = read_motion(motion.path, motion.kind, subject, motion.options).resample(track.fps)
    frames = motion_frames(avatar, subject, driver)
    return Played(avatar, track, frames, np.arange(len(frames.condition)) / track.fps)
