"""An avatar that speaks: a sound to an mp4, and frames while somebody speaks.

Without a learned voice the lips follow phones, or loudness where PocketSphinx is not installed.
"""

from pathlib import Path

import numpy as np

from headsplat.avatar import WHITE, Avatar
from headsplat.avatar_files import TRACK_FILE
from headsplat.avatar_video import render_video
from headsplat.drive.kinds import RELATIVE, STILL
from headsplat.drive.subject import DrivenSubject
from headsplat.drive.trunk_motion import trunk_below
from headsplat.frame_code import FrameCode
from headsplat.heads.model import HeadModel
from headsplat.runtime.errors import UserError, shown
from headsplat.speech.audio import read_speech
from headsplat.speech.own import speech_motion
from headsplat.speech.personal import read_voice, voice_beside, voice_or_none
from headsplat.speech.stream import Speaker
from headsplat.speech.voices import PHONES
from headsplat.track import Frame, Track, check_head, read_track


def say(
    avatar: Avatar,
    sound: Path | str,
    out: Path | str,
    track: Track | None = None,
    voice: Path | str | None = None,
    transcript: Path | str | None = None,
    head_motion: str = RELATIVE,
) -> None:
    """Render a video of an avatar that says a sound.

    Args:
        avatar: the avatar.
        sound: any file with sound.
        out: mp4 to write.
        track: of the avatar's clip: camera, frame rate and the motion of the rest of the face; None
            takes the one in the avatar's folder.
        voice: `voice.npz` of the subject, or "phones"; None takes the file beside the avatar's
            folder, as the workflow writes it. Without one the lips follow phones.
        transcript: file with the English text that is said, or None.
        head_motion: "still" keeps the head still.

    Raises:
        UserError: a file cannot be read or belongs to another head.
    """
    if head_motion not in (RELATIVE, STILL):
        raise UserError(f"head_motion '{shown(str(head_motion))}': use {RELATIVE} or {STILL}")
    subject, track = _subject(avatar, track)
    file = None if voice == PHONES else voice or _voice_beside(avatar)
    learned = voice_or_none(file, avatar.head)
    text = None if transcript is None else Path(transcript)
    motion = speech_motion(
        read_speech(sound).samples, subject, track, learned, text, head_motion
    ).resample(track.fps)
    code = FrameCode(subject.limits.clamp_codes(motion.condition).float())
    ids, size = np.arange(1, len(code.vector) + 1), (track.width, track.height)
    trunk = None
    if track.trunk_R is not None or avatar.torso is not None:
        trunk = trunk_below(subject, motion.rotation, motion.translation)
    poses = motion.rotation.float(), motion.translation.float()
    frames = Frame(ids, code, *poses, track.intrinsics(), *size, trunk)
    render_video(avatar, frames, Path(out), sound, track.fps, WHITE)


def speaker(avatar: Avatar, voice: Path | str | None = None, track: Track | None = None) -> Speaker:
    """A `Speaker` that turns 16 kHz chunks into frames for `Avatar.render`.

    Args:
        avatar: the avatar.
        voice: `voice.npz` of the subject; None takes the one beside the avatar's folder.
        track: of the avatar's clip; None takes the one in the avatar's folder.

    Raises:
        UserError: there is no voice, it cannot be read, or it belongs to another head.
    """
    voice = voice or _voice_beside(avatar)
    if voice is None:
        raise UserError("there is no voice.npz beside the avatar; give `voice`")
    subject, track = _subject(avatar, track)
    return Speaker(subject, track, read_voice(voice, avatar.head))


def _voice_beside(avatar: Avatar) -> Path | None:
    return None if avatar.folder is None else voice_beside(avatar.folder)


def _subject(avatar: Avatar, track: Track | None) -> tuple[DrivenSubject, Track]:
    head: HeadModel = avatar.head
    if track is None:
        if avatar.folder is None:
            raise UserError("the avatar was not read from a folder; give `track`")
        track = read_track(avatar.folder / TRACK_FILE)
    check_head(track, head.name, head.version)
    shape, limit = avatar.shape.detach().cpu(), avatar.deformation.code_limit
    return DrivenSubject.from_track("the track", head, shape, track, limit), track
