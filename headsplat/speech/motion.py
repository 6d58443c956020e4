"""A sound as a motion: the kind `speech`, for the library and the command."""

from pathlib import Path

from headsplat.drive.kinds import AUTO, MotionOptions
from headsplat.drive.motion import Motion
from headsplat.drive.subject import DrivenSubject
from headsplat.runtime.errors import UserError, shown
from headsplat.speech.audio import read_speech
from headsplat.speech.voices import (
    PERSONAL,
    PHONES,
    VOICES,
    SpeechOptions,
    chosen_voice,
    own_options,
)


def read_speech_motion(path: Path, subject: DrivenSubject, options: MotionOptions) -> Motion:
    """The motion of a subject that says a sound.

    Args:
        path: any file with sound.
        subject: the driven subject.
        options: `voice`, its `voice_file`, and `transcript`. `auto` is the learned voice if its
            file is given, else phones. A network takes its own file or folder as `voice_file`. Its
            options have their defaults, but codes are normalized by the track, not by a file.

    Raises:
        UserError: a file cannot be read, or the voice does not serve the subject's head.
    """
    name = options.voice
    if name == AUTO:
        name = PHONES if options.voice_file is None else PERSONAL
    chosen_voice(name, subject.head.name, ())
    voice = VOICES[name]
    (key,) = voice.assets or ("voice",)
    given = {key: options.voice_file, "transcript": options.transcript}
    files = {name: file for name, file in given.items() if file is not None}
    if name == PHONES:
        files.pop(key, None)
    elif key not in files:
        raise UserError(f"voice '{shown(name)}': needs its file; give voice_file")
    own = {"stats": "subject"} if "stats" in own_options(name) else {}
    chosen = SpeechOptions(files, options, own=own)
    return voice.load()(read_speech(path).samples, subject, subject.track, chosen)
