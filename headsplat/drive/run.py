"""An avatar and a motion -> mp4: the subject's own camera, a plain background, sound if there is.

Without a GPU a minute of video takes minutes, so it is made in parts that stay in keyed scratch
until the whole is joined; what was stopped goes on behind the last complete part.
"""

from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from headsplat.avatar import load_avatar
from headsplat.camera import vector_from_matrix
from headsplat.drive.another_track import read_another_track
from headsplat.drive.arkit_motion import read_arkit
from headsplat.drive.diffposetalk import read_diffposetalk
from headsplat.drive.kinds import DIFFPOSETALK, TRACK
from headsplat.drive.limits import Seen
from headsplat.drive.motion import Motion
from headsplat.drive.target import Target
from headsplat.gaussians.deform.codes import condition_size
from headsplat.gaussians.raster.extension import serving_device
from headsplat.heads.model import HeadModel
from headsplat.render import FrameRenderer
from headsplat.runtime.errors import UserError
from headsplat.runtime.logs import log
from headsplat.runtime.scratch import Scratch, state_key
from headsplat.track import check_head, read_track
from headsplat.video.encode import VideoWriter
from headsplat.video.join import join_videos
from headsplat.video.parts import VideoParts
from headsplat.video.sound import read_sound

BATCH = 8
BACKGROUND = (1.0, 1.0, 1.0)


def read_motion(
    path: Path, kind: str, target: Target, head_motion: str, with_blinks: bool
) -> Motion:
    """Read any kind of motion; `with_blinks` matters to DiffPoseTalk's alone.

    Raises:
        UserError: the file is not what its kind says, or not for this head.
    """
    if kind == TRACK:
        return read_another_track(path, target, head_motion)
    if kind == DIFFPOSETALK:
        return read_diffposetalk(path, target, head_motion, with_blinks)
    return read_arkit(path, target, head_motion)


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
        track_path: its own track: camera, size, frame rate, and what was seen of it.
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
    head, track = HeadModel.load(head_path), read_track(track_path)
    check_head(track, head.name, head.version)
    if track.exp.shape[1] != head.expression_basis.shape[2] or len(track.ids) == 0:
        raise UserError(f"{track_path}: not a track of head {head.name}; track the clip again")
    avatar = load_avatar(avatar_folder, head, serving_device("auto"))
    target = Target(head, avatar.shape, Seen.of(track))
    motion = read_motion(motion_path, kind, target, head_motion, with_blinks).sampled(track.fps)
    condition = target.seen.limited_codes(motion.condition)
    codes = [v.float() for v in (condition, motion.rotation, motion.translation)]
    height, width = (int(n) for n in track.img_size)
    camera = vector_from_matrix(torch.from_numpy(track.K))
    renderer = FrameRenderer(avatar, BATCH, width, height, camera, torch.tensor(BACKGROUND))
    count = len(condition)
    sound = None if audio is None else _sound(audio, count / track.fps)
    log.info("%d frames, %.1f s, %d codes each", count, count / track.fps, condition_size(head))
    rate = Fraction(track.fps).limit_denominator(1001)
    inputs = [*sorted(p for p in avatar_folder.iterdir() if p.is_file()), head_path, track_path]
    # The sound is laid under the whole video at the end, so that another one draws nothing anew.
    parameters = {"kind": kind, "head_motion": head_motion, "blinks": with_blinks}
    scratch = Scratch(scratch_root, state_key([*inputs, motion_path], parameters, code))

    def draw(rows: slice, path: Path) -> None:
        with VideoWriter(path, width, height, rate) as writer:
            for color, _ in renderer.frames(*(v[rows] for v in codes)):
                for image in (color * 255).round().byte().cpu().numpy():
                    writer.write(image)

    (videos,) = VideoParts(scratch.folder).complete(count, draw)
    join_videos(videos, out, rate, sound)
    scratch.clear()


def _sound(audio: Path, seconds: float) -> tuple[np.ndarray, int]:
    sound = read_sound(audio, seconds)
    if sound is None:
        raise UserError(
            f"{audio}: has no sound that can be decoded; give another file or leave 'audio' empty"
        )
    return sound
