"""Registry of motion formats (driving sources). A new kind is one module and one line here.

Importing this module imports no reader, so that planning needs no torch.
"""

from dataclasses import dataclass
from pathlib import Path

from headsplat.registry import Plugin, Registry

# Head motion: relative to the mean pose of driver and subject, as in the driver's file, or none.
RELATIVE, ABSOLUTE, STILL = "relative", "absolute", "still"
HEAD_MOTIONS = (RELATIVE, ABSOLUTE, STILL)
AUTO = "auto"
# Face: differences from the driver's neutral face on top of the subject's, or the driver's codes.
FACES = (RELATIVE, ABSOLUTE)
# Amplitude of expressions: the driver's, or scaled to the subject's.
DRIVER, SUBJECT = "driver", "subject"
AMPLITUDES = (DRIVER, SUBJECT)


@dataclass(frozen=True)
class MotionOptions:
    """Options of a motion, from the columns of `motions.tsv`.

    Attributes:
        head_motion: one of `HEAD_MOTIONS`.
        blinks: add procedural blinks; only for kinds with `blinks`.
        face: one of `FACES`; this and the following only for kinds with `face`.
        amplitude: one of `AMPLITUDES`.
        neutral: numbers of neutral frames of the motion; none to find them.
        subject_neutral: the same of the subject's clip.
        voice: of `headsplat.speech.voices.VOICES`, or "auto"; this and the following only for kinds
            with `speech`.
        voice_file: the `voice.npz` of the personal voice.
        transcript: text file with the words of the sound.
    """

    head_motion: str = RELATIVE
    blinks: bool = True
    face: str = RELATIVE
    amplitude: str = DRIVER
    neutral: tuple[int, ...] = ()
    subject_neutral: tuple[int, ...] = ()
    voice: str = AUTO
    voice_file: Path | None = None
    transcript: Path | None = None


@dataclass(frozen=True)
class MotionKind(Plugin):
    """A kind of motion; the target is a function (path, subject, options) -> `Motion`.

    Attributes:
        suffixes: file suffixes; none for any.
        heads: names of the head models that its codes belong to; None for any.
        subject: the file may be given as a subject's name, which means its `track.npz`.
        blinks: its files lack blinks, so that the column `blinks` applies.
        speech: its file is a sound that a voice speaks, so that the options `voice`, `voice_file`
            and `transcript` apply.
        face: its codes are those of a person with a neutral face of their own, so that the options
            `face`, `amplitude`, `neutral` and `subject_neutral` apply.
    """

    suffixes: tuple[str, ...] = ()
    heads: tuple[str, ...] | None = None
    subject: bool = False
    blinks: bool = False
    speech: bool = False
    face: bool = False


KINDS: Registry[MotionKind] = Registry(
    "kind of motion",
    {
        "track": MotionKind(
            "headsplat.drive.track_motion:read_track_motion",
            "another subject's track",
            (".npz",),
            subject=True,
            face=True,
        ),
        "diffposetalk": MotionKind(
            "headsplat.drive.diffposetalk:read_diffposetalk",
            "DiffPoseTalk's codes",
            (".npz",),
            ("flame",),
            blinks=True,
        ),
        "arkit": MotionKind(
            "headsplat.drive.arkit_motion:read_arkit",
            "Live Link Face's table",
            (".csv", ".json"),
            ("ict", "procedural"),
            face=True,
        ),
        "speech": MotionKind(
            "headsplat.speech.motion:read_speech_motion",
            "a sound or video file that the avatar speaks",
            blinks=True,
            speech=True,
        ),
        "motion": MotionKind(
            "headsplat.drive.motion_file:read_motion_file",
            "codes and poses that this project wrote",
            (".npz",),
        ),
    },
)
