"""The stage `drive_avatar`: render an avatar driven by a motion to mp4, with optional sound.

Rendering a minute of video takes minutes without a GPU. The video is therefore rendered in parts,
kept in scratch until they are joined. A stopped run resumes after the last complete part.
"""

from dataclasses import asdict
from pathlib import Path

import torch

from headsplat.avatar import WHITE
from headsplat.avatar_files import load_avatar
from headsplat.avatar_video import BATCH, exact_rate, required_sound, write_images
from headsplat.drive.face_options import changed, require_fitting
from headsplat.drive.kinds import KINDS, MotionOptions
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


def read_motion(path: Path, kind: str, subject: DrivenSubject, options: MotionOptions) -> Motion:
    """Read a motion of any kind.

    Raises:
        UserError: the file is not of this kind or not for this head model, or an option does not
            apply to it.
    """
    require_fitting(str(path), kind, options.face, changed(options))
    return KINDS[kind].load()(path, subject, options)


def drive_avatar(
    avatar_folder: Path,
    head_path: Path,
    track_path: Path,
    motion_path: Path,
    kind: str,
    options: MotionOptions,
    audio: Path | None,
    scratch_root: Path,
    out: Path,
    code: str,
) -> None:
    """Render a video of an avatar driven by a motion, at the frame rate of the avatar's clip.

    Args:
        avatar_folder: the trained avatar.
        head_path: its head model.
        track_path: its own track: camera, size, frame rate and limits.
        motion_path: file of the motion.
        kind: a key of `headsplat.drive.kinds.KINDS`.
        options: of the motion.
        audio: file with sound that starts with the motion, or None.
        scratch_root: folder of resumable state.
        out: mp4 to write.
        code: version of the code, part of the key.

    Raises:
        UserError: files that cannot be read or do not belong together, an option that does not
            apply to the kind, or audio without sound.
    """
    head = HeadModel.load(head_path)
    track = read_track(track_path, head)
    if len(track) == 0:
        raise UserError(f"{track_path}: has no frames; track the clip again")
    avatar = load_avatar(avatar_folder, head, serving_device("auto"))
    subject = DrivenSubject.from_track(
        str(track_path), head, avatar.shape, track, avatar.deformation.code_limit
    )
    motion = read_motion(motion_path, kind, subject, options).resample(track.fps)
    condition = subject.limits.clamp_codes(motion.condition)
    codes = [v.float() for v in (condition, motion.rotation, motion.translation)]
    size = track.width, track.height
    renderer = FrameRenderer(avatar, BATCH, *size, track.intrinsics(), torch.tensor(WHITE))
    count = len(condition)
    sound = None if audio is None else required_sound(audio, count / track.fps)
    log.info("%d frames, %.1f s, codes of %d numbers", count, count / track.fps, condition.shape[1])
    rate = exact_rate(track.fps)
    given = [path for path in (options.voice_file, options.transcript) if path is not None]
    paths = [avatar_folder, head_path, track_path, motion_path, *given]
    inputs = [file for path in paths for file in _files(path)]
    # The sound is added when the parts are joined, so another sound needs no new rendering.
    values = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(options).items()}
    scratch = Scratch(scratch_root, state_key(inputs, {"kind": kind, **values}, code))

    def draw(rows: slice, path: Path) -> None:
        with VideoWriter(path, *size, rate) as writer:
            write_images(writer, renderer, *(value[rows] for value in codes))

    (videos,) = VideoParts(scratch.folder).complete(count, draw)
    join_videos(videos, out, rate, sound)
    scratch.clear()


def _files(path: Path) -> list[Path]:
    """A file, or the files of a folder in order."""
    return sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
