"""Self- and cross-reenactment: the packed track of a clip as a motion.

Identity and expression are separate parameters, so expression codes transfer between subjects, up
to the difference of the two neutral faces; see `headsplat.drive.transfer`.
"""

from pathlib import Path

import torch

from headsplat.drive.face_clip import FaceClip
from headsplat.drive.kinds import STILL, MotionOptions
from headsplat.drive.motion import Motion
from headsplat.drive.subject import DrivenSubject
from headsplat.drive.transfer import transfer_face
from headsplat.runtime.errors import UserError
from headsplat.track import read_track


def read_track_motion(path: Path, subject: DrivenSubject, options: MotionOptions) -> Motion:
    """Read `track.npz`; frame id k is (k - 1) / fps seconds after the start of the sound.

    Raises:
        UserError: it cannot be read, is empty, was made with another head model or version, or
            lacks a frame that is named as neutral.
    """
    track, head = read_track(path), subject.head
    if (track.head_name, track.head_version) != (head.name, head.version):
        raise UserError(
            f"{path}: tracked with head {track.head_name} {track.head_version}, the avatar's is "
            f"{head.name} {head.version}; track that clip with the same head"
        )
    if len(track.ids) == 0:
        raise UserError(f"{path}: has no frames; track the clip again")
    if len(set(track.ids.tolist())) < len(track.ids):
        raise UserError(f"{path}: a frame id occurs twice; track the clip again")
    clip = FaceClip.from_track(str(path), track, subject.clip.mesh.geometry)
    order = torch.from_numpy(track.ids.argsort())
    rotation, translation = subject.limits.poses_from_track(
        *track.poses(torch.float64), options.head_motion
    )
    codes = transfer_face(clip, subject.clip, options)
    # Under a still head, a trunk that moves as the driver's would sway alone.
    trunk = None if options.head_motion == STILL else track.trunk()
    trunk = None if trunk is None else trunk[order].double()
    return Motion(clip.times, codes, rotation[order], translation[order], trunk)
