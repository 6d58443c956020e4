"""An avatar that speaks: a sound to an mp4, and frames while somebody speaks.

Without a learned voice the lips follow phones (PocketSphinx).
"""

from pathlib import Path

import numpy as np

from headsplat.avatar import WHITE, Avatar
from headsplat.avatar_video import render_video
from headsplat.drive.kinds import RELATIVE, STILL
from headsplat.drive.subject import DrivenSubject
from headsplat.frame_code import FrameCode
from headsplat.heads.model import HeadModel
from headsplat.runtime.errors import UserError, shown
from headsplat.speech.audio import read_speech
from headsplat.speech.own import speech_motion
from headsplat.speech.personal import read_voice
from headsplat.speech.stream import Speaker
from headsplat.track import Frame, Track, check_head


def say(
    avatar: Avatar,
    sound: Path | str,
    out: Path | str,
    track: Track,
    voice: Path | str | None = None,
    transcript: Path | str | None = None,
    head_motion: str = RELATIVE,
) -> None:
    """Render a video of an avatar that says a sound.

    Args:
        avatar: the avatar.
        sound: any file with sound.
        out: mp4 to write.
        track: of the avatar's clip: camera, frame rate and the motion of the rest of the face.
        voice: `voice.npz` of the subject, or None for the rules of phones.
        transcript: file with the English text that is said, or None.
        head_motion: "still" keeps the head still.

    Raises:
        UserError: a file cannot be read or belongs to another head, or without a voice PocketSphinx
            is missing.
    """
    if head_motion not in (RELATIVE, STILL):
        raise UserError(f"head_motion '{shown(str(head_motion))}': use {RELATIVE} or {STILL}")
    subject = _subject(avatar, track)
    learned = None if voice is None else read_voice(voice, avatar.head)
    text = None if transcript is None else Path(transcript)
    motion = speech_motion(
        read_speech(sound).samples, subject, track, learned, text, head_motion
    ).resample(track.fps)
    code = FrameCode(subject.limits.clamp_codes(motion.condition).float())
    poses = motion.rotation.float(), motion.translation.float()
    size = track.width, track.height
    frames = Frame(np.arange(1, len(code.vector) + 1), code, *poses, track.intrinsics(), *size)
    render_video(avatar, frames, Path(out), sound, track.fps, WHITE)


def speaker(avatar: Avatar, track: Track, voice: Path | str) -> Speaker:
    """A `Speaker` that turns 16 kHz chunks into frames for `Avatar.render`.

    Args:
        avatar: the avatar.
        track: of the avatar's clip.
        voice: `voice.npz` of the subject.

    Raises:
        UserError: the voice cannot be read or belongs to another head.
    """
    return Speaker(_subject(avatar, track), track, read_voice(voice, avatar.head))


def _subject(avatar: Avatar, track: Track) -> DrivenSubject:
    head: HeadModel = avatar.head
    check_head(track, head.name, head.version)
    shape, limit = avatar.shape.detach().cpu(), avatar.deformation.code_limit
    return DrivenSubject.from_track("the track", head, shape, track, limit)
