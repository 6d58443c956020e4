"""An avatar and a motion -> mp4: the subject's own camera, a plain background, sound if given.

Without a GPU a minute of video takes minutes. It is made in parts, which stay in keyed scratch
until the whole is joined; a stopped run continues behind the last complete part.
"""

from pathlib import Path

import torch

from headsplat.avatar import WHITE, load_avatar
from headsplat.avatar_video import BATCH, exact_rate, required_sound, write_images
from headsplat.drive.kinds import KINDS, MotionOptions
from headsplat.drive.limits import DrivingLimits
from headsplat.drive.motion import Motion
from headsplat.drive.subject import DrivenSubject
from headsplat.gaussians.raster.extension import serving_device
from headsplat.heads.model import HeadModel
from headsplat.render import FrameRenderer
from headsplat.runtime.errors import UserError
from headsplat.runtime.logs import log
from headsplat.runtime.scratch import Scratch, state_key
from headsplat.track import read_track
from headsplat.video.encode import VideoWriter
from headsplat.video.join import join_videos
from headsplat.video.parts import VideoParts


def read_motion(
    path: Path, kind: str, subject: DrivenSubject, head_motion: str, with_blinks: bool
) -> Motion:
    """Read any kind of motion; `with_blinks` applies to kinds without blinks of their own.

    Raises:
        UserError: the file is not what its kind says, or not for this head.
    """
    return KINDS[kind].load()(path, subject, MotionOptions(head_motion, with_blinks))


def drive_avatar(
    avatar_folder: Path,
    head_path: Path,
    track_path: Path,
    motion_path: Path,
    kind: str,
    head_motion: str,
    with_blinks: bool,
    audio: Path | None,
    scratch_root: Path,
    out: Path,
    code: str,
) -> None:
    """Publish a video of an avatar that does what the motion says, at the frame rate of its clip.

    Args:
        avatar_folder: the trained avatar.
        head_path: its head model.
        track_path: its own track: camera, size, frame rate and limits.
        motion_path: what to play.
        kind: of `headsplat.drive.kinds.KINDS`.
        head_motion: of `headsplat.drive.kinds.HEAD_MOTIONS`.
        with_blinks: give a DiffPoseTalk motion blinks.
        audio: file with sound that starts with the motion, or None.
        scratch_root: folder of resumable state.
        out: mp4 to write.
        code: version of the code, part of the key.

    Raises:
        UserError: files that cannot be read or do not belong together, or audio without sound.
    """
    head = HeadModel.load(head_path)
    track = read_track(track_path, head)
    if len(track) == 0:
        raise UserError(f"{track_path}: holds no frame; track the clip again")
    avatar = load_avatar(avatar_folder, head, serving_device("auto"))
    subject = DrivenSubject(
        head, avatar.shape, DrivingLimits.of(track, avatar.deformation.code_limit)
    )
    motion = read_motion(motion_path, kind, subject, head_motion, with_blinks).resample(track.fps)
    condition = subject.limits.clamp_codes(motion.condition)
    codes = [v.float() for v in (condition, motion.rotation, motion.translation)]
    size = track.width, track.height
    renderer = FrameRenderer(avatar, BATCH, *size, track.intrinsics(), torch.tensor(WHITE))
    count = len(condition)
    sound = None if audio is None else required_sound(audio, count / track.fps)
    log.info("%d frames, %.1f s, codes of %d numbers", count, count / track.fps, condition.shape[1])
    rate = exact_rate(track.fps)
    inputs = [*sorted(p for p in avatar_folder.iterdir() if p.is_file()), head_path, track_path]
    # The sound is laid under the whole video at the end, so that another one draws nothing anew.
    parameters = {"kind": kind, "head_motion": head_motion, "blinks": with_blinks}
    scratch = Scratch(scratch_root, state_key([*inputs, motion_path], parameters, code))

    def draw(rows: slice, path: Path) -> None:
        with VideoWriter(path, *size, rate) as writer:
            write_images(writer, renderer, *(value[rows] for value in codes))

    (videos,) = VideoParts(scratch.folder).complete(count, draw)
    join_videos(videos, out, rate, sound)
    scratch.clear()
