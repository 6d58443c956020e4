"""Self- and cross-reenactment: the packed track of a clip as a motion, codes unchanged.

Identity and expression are separate parameters, so expression codes transfer between subjects. The
difference between the neutral faces of two clips is not estimated.
"""

from pathlib import Path

import torch

from headsplat.drive.kinds import MotionOptions
from headsplat.drive.motion import Motion
from headsplat.drive.subject import DrivenSubject
from headsplat.runtime.errors import UserError
from headsplat.track import read_track


def read_track_motion(path: Path, subject: DrivenSubject, options: MotionOptions) -> Motion:
    """Read `track.npz`; frame id k is (k - 1) / fps seconds after the start of the sound.

    Raises:
        UserError: it cannot be read, is empty, or was made with another head model or version.
    """
    track, head = read_track(path), subject.head
    if (track.head_name, track.head_version) != (head.name, head.version):
        raise UserError(
            f"{path}: tracked with head {track.head_name} {track.head_version}, the avatar's is "
            f"{head.name} {head.version}; track that clip with the same head"
        )
    if len(track.ids) == 0:
        raise UserError(f"{path}: has no frames; track the clip again")
    order = torch.from_numpy(track.ids.argsort())
    times = torch.from_numpy(track.ids.astype("f8") - 1)[order] / track.fps
    if (times.diff() <= 0).any():
        raise UserError(f"{path}: a frame id occurs twice; track the clip again")
    rotation, translation = subject.limits.poses_from_track(
        *track.poses(torch.float64), options.head_motion
    )
    return Motion(
        times, track.codes(torch.float64).vector[order], rotation[order], translation[order]
    )
