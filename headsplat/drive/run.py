"""The stage `drive_avatar`: render an avatar driven by a motion to a video, with optional sound.

Rendering a minute of video takes minutes without a GPU. The video is therefore rendered in parts,
kept in scratch until they are joined. A stopped run resumes after the last complete part.
"""

from dataclasses import asdict, replace
from pathlib import Path

from headsplat.avatar import Avatar
from headsplat.avatar_files import load_avatar
from headsplat.avatar_video import exact_rate, required_sound
from headsplat.drive.draw import Drawer, DrivenFrames
from headsplat.drive.face_options import changed, require_fitting
from headsplat.drive.kinds import AUTO, KINDS, STILL, MotionOptions
from headsplat.drive.look import HEAD, PASTE, TORSO, ClipFiles, Look
from headsplat.drive.motion import Motion
from headsplat.drive.paste_plan import plan_paste
from headsplat.drive.subject import DrivenSubject
from headsplat.drive.trunk_motion import trunk_below
from headsplat.gaussians.raster.extension import serving_device
from headsplat.heads.model import HeadModel
from headsplat.runtime.errors import UserError, shown
from headsplat.runtime.logs import log
from headsplat.runtime.scratch import Scratch, state_key
from headsplat.track import read_track
from headsplat.video.encode import VideoWriter
from headsplat.video.formats import FORMATS, PNG_ZIP, suffix_of
from headsplat.video.join import join_videos
from headsplat.video.parts import VideoParts
from headsplat.video.png_zip import PngZipWriter


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
    look: Look,
    clip: ClipFiles,
) -> None:
    """Render a video of an avatar driven by a motion, at the frame rate of the avatar's clip.

    Args:
        avatar_folder: the trained avatar.
        head_path: its head model.
        track_path: its own track: camera, size, frame rate and limits.
        motion_path: file of the motion.
        kind: a key of `headsplat.drive.kinds.KINDS`.
        options: of the motion.
        audio: file with sound that starts with the motion, or None; a zip of images has none.
        scratch_root: folder of resumable state.
        out: video to write; its suffix is one of `headsplat.video.formats.FORMATS`.
        code: version of the code, part of the key.
        look: background and body.
        clip: files of the avatar's clip that the look needs.

    Raises:
        UserError: files that cannot be read or do not belong together; audio without sound; or
            an option that does not apply to the kind, the avatar or the format.
    """
    suffix, look = suffix_of(out), look.resolved(out)
    clip.require(look)
    head = HeadModel.load(head_path)
    track = read_track(track_path, head)
    if len(track) == 0:
        raise UserError(f"{track_path}: has no frames; track the clip again")
    avatar = load_avatar(avatar_folder, head, serving_device("auto"))
    look = _with_body(look, avatar, avatar_folder)
    subject = DrivenSubject.from_track(
        str(track_path), head, avatar.shape, track, avatar.deformation.code_limit
    )
    motion = read_motion(motion_path, kind, subject, options).resample(track.fps)
    follow = KINDS[kind].face and options.head_motion != STILL
    frames = driven_frames(avatar, subject, motion, look, follow)
    count = len(frames.condition)
    given = FORMATS[suffix]
    wanted = audio if given.sound is not None else None
    sound = None if wanted is None else required_sound(wanted, count / track.fps)
    log.info("%d frames, %.1f s, body: %s", count, count / track.fps, look.body)
    rate = exact_rate(track.fps)
    paths = [avatar_folder, head_path, track_path, motion_path, *_further(options, look, clip)]
    inputs = [file for path in paths for file in _files(path)]
    # The sound is added when the parts are joined, so another sound needs no new rendering.
    values = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(options).items()}
    values |= {"kind": kind, "format": suffix, "background": look.background, "body": look.body}
    values |= {"still_frame": look.still_frame}
    size = track.width, track.height
    # A still frame shows neither blinks nor brows of its own, so the whole face is drawn.
    mouth = not follow and not look.still_frame
    drawing = Drawer(avatar, track, frames, look, clip, given.alpha, mouth)
    with drawing as drawer:
        scratch = Scratch(scratch_root, state_key(inputs, values, code))

        def draw(rows: slice, path: Path) -> None:
            zipped = suffix == PNG_ZIP
            opened = (
                PngZipWriter(path, rows.start + 1) if zipped else VideoWriter(path, *size, rate)
            )
            with opened as writer:
                for images in drawer.images(rows):
                    for image in images:
                        writer.write(image)

        # Of `.png.zip` parts are called `.zip`; a name such as `.mp4` has no suffix of its own.
        parts = VideoParts(scratch.folder, video=Path(suffix).suffix or suffix)
        (videos,) = parts.complete(count, draw)
        join_videos(videos, out, rate, sound)
    scratch.clear()


def driven_frames(
    avatar: Avatar, subject: DrivenSubject, motion: Motion, look: Look, follow: bool
) -> DrivenFrames:
    """Codes and poses of each frame of a video, within the subject's limits.

    Args:
        avatar: the avatar.
        subject: who is driven.
        motion: at the frame rate of the subject's clip.
        look: with a body other than `auto`.
        follow: with paste, whether the motion's head turns are shown.
    """
    if look.body != PASTE:
        return motion_frames(avatar, subject, motion)
    track = subject.track
    condition = subject.limits.clamp_codes(motion.condition).float()
    plan = plan_paste(track, motion, follow, subject.neck(), look.still_frame)
    trunk = None if plan.trunk is None else plan.trunk.float()
    poses = plan.rotation.float(), plan.translation.float()
    return DrivenFrames(condition, *poses, trunk, track.ids[plan.rows])


def motion_frames(avatar: Avatar, subject: DrivenSubject, motion: Motion) -> DrivenFrames:
    """Codes and poses of a motion within the subject's limits, its trunk below the moving head.

    Args:
        avatar: the avatar.
        subject: who is driven.
        motion: at the frame rate of the subject's clip.
    """
    condition = subject.limits.clamp_codes(motion.condition).float()
    trunk = None
    if subject.track.trunk_R is not None or avatar.torso is not None:
        trunk = trunk_below(subject, motion.rotation, motion.translation, motion.trunk)
    return DrivenFrames(condition, motion.rotation.float(), motion.translation.float(), trunk)


def _with_body(look: Look, avatar: Avatar, folder: Path) -> Look:
    """The look with the body that `auto` stands for; `UserError` for one that the avatar lacks."""
    if look.body == AUTO:
        return replace(look, body=HEAD if avatar.torso is None else TORSO)
    if look.body == TORSO and avatar.torso is None:
        raise UserError(
            f"{folder}: has no torso for body {TORSO}; train it with train.body {TORSO}, or choose "
            f"{HEAD} or {PASTE}"
        )
    return look


def _further(options: MotionOptions, look: Look, clip: ClipFiles) -> list[Path]:
    """Files that options and look name, beside avatar, track and motion."""
    named = [options.voice_file, options.transcript, look.image or None]
    files = [Path(path) for path in named if path is not None]
    if look.needs_plate and clip.plate is not None:
        files.append(clip.plate)
    return [*files, *clip.frames, *clip.alpha, *clip.parsing] if look.body == PASTE else files


def _files(path: Path) -> list[Path]:
    """A file, or the files of a folder in order."""
    try:
        return sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
    except OSError as error:  # such as a name that is too long
        raise UserError(
            f"{shown(str(path))}: cannot be read ({error.strerror}); give another file"
        ) from error
