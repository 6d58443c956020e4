"""The stage `speak`: a sound and a voice -> a motion on disk."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from headsplat.drive.motion import Motion, require_finite
from headsplat.drive.motion_file import write_motion
from headsplat.drive.subject import DrivenSubject
from headsplat.heads.model import HeadModel
from headsplat.runtime.errors import UserError
from headsplat.runtime.logs import log
from headsplat.speech.audio import read_speech
from headsplat.speech.voices import SpeechOptions
from headsplat.track import Track, read_track

Speak = Callable[[np.ndarray, DrivenSubject, Track, SpeechOptions], Motion]


def speak(
    sound: Path, head_path: Path, track_path: Path, voice: Speak, options: SpeechOptions, out: Path
) -> None:
    """Make the motion of a subject that says a sound.

    Args:
        sound: any file with sound.
        head_path: the subject's head model.
        track_path: its track.
        voice: a function (samples, subject, track, options) -> `Motion`, such as
            `headsplat.speech.own.speak`.
        options: of the voice.
        out: `.npz` to write; see `headsplat.drive.motion_file`.

    Raises:
        UserError: a file cannot be read, or the files do not belong together.
    """
    torch.set_num_threads(1)
    head = HeadModel.load(head_path)
    track = read_track(track_path, head)
    speech = read_speech(sound)
    motion = voice(speech.samples, subject_of(head, track, track_path), track, options)
    require_finite(motion.condition, f"{sound}: the motion that the voice made of it")
    write_motion(out, motion, head)
    log.info("%s: %.1f s of speech, %d frames", sound, speech.seconds, len(motion.times))


def subject_of(head: HeadModel, track: Track, origin: Path | str) -> DrivenSubject:
    """The driven subject of a clip, without a trained avatar."""
    if len(track) == 0:
        raise UserError(f"{origin}: has no frames; track the clip again")
    return DrivenSubject.from_track(str(origin), head, track.identity(), track)
