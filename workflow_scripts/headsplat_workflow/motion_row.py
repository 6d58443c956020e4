"""A row of the table of driving motions: what its cells may say, and what they mean.

Everything here raises `UserError` with one line that names the place and the fix.
"""

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headsplat_workflow.user_files import file_problem

from headsplat.drive.face_options import COLUMNS as FACE_COLUMNS
from headsplat.drive.face_options import frame_numbers, frame_text, require_fitting
from headsplat.drive.kinds import AMPLITUDES, AUTO, FACES, HEAD_MOTIONS, KINDS, MotionOptions
from headsplat.drive.look import BACKGROUNDS, PASTE, Look
from headsplat.runtime.errors import UserError, shown
from headsplat.speech.voices import VOICES, own_options
from headsplat.video.formats import FORMATS

COLUMNS = ("name", "kind", "file")
LOOK_COLUMNS = ("background", "body", "still_frame")
OPTIONAL_COLUMNS = (
    "audio", "head_motion", "blinks", *FACE_COLUMNS, "voice", "transcript", *LOOK_COLUMNS,
)  # fmt: skip
YES, NO = "yes", "no"
# Kind of the file that the stage `speak_motion` makes of a sound.
SPOKEN = "motion"
BUILTIN, BUILTIN_SENTENCE = "builtin", "work/builtin/hello.wav"  # spoken by the built-in voice
# Files that the workflow makes of this table's rows.
_OF_MOTIONS = re.compile(r"(results/[^/]+/driven|work/[^/]+/speech)/.+")
# Columns of one of a few words, the default first.
_CHOICES = {"head_motion": HEAD_MOTIONS, "face": FACES, "amplitude": AMPLITUDES}


@dataclass(frozen=True)
class Motion:
    """One row of the table.

    Attributes:
        name: unique in the table.
        kind: of `headsplat.drive.kinds.KINDS`.
        file: the motion; of a subject its track, which the workflow makes; of speech the sound.
        audio: sound or video file, or ""; of speech the sound itself by default.
        options: of the motion.
        background: in place of the section `drive`'s, or "".
        body: likewise.
        still_frame: likewise, or None.
    """

    name: str
    kind: str
    file: str
    audio: str = ""
    options: MotionOptions = MotionOptions()
    background: str = ""
    body: str = ""
    still_frame: int | None = None

    @property
    def speech(self) -> bool:
        """Whether the file is a sound, of which the stage `speak_motion` makes the motion."""
        return KINDS[self.kind].speech

    @property
    def transcript(self) -> str:
        """Text file with the words of the sound, or ""."""
        return str(self.options.transcript or "")

    @property
    def made(self) -> bool:
        """Whether the workflow makes the file, perhaps in this run."""
        return self.file.startswith("work/")

    def flags(self) -> dict[str, str]:
        """Flags of `drive_avatar.py` that depend on the row alone."""
        return {
            "kind": SPOKEN if self.speech else self.kind,
            "head_motion": self.options.head_motion,
            "blinks": YES if self.options.blinks else NO,
            "face": self.options.face,
            "amplitude": self.options.amplitude,
            "neutral": frame_text(self.options.neutral),
            "subject_neutral": frame_text(self.options.subject_neutral),
            "audio": self.audio,
        }

    def look(self, settings: Mapping[str, Any], video: str) -> Look:
        """What a video shows, as `Look.resolved` returns it.

        Args:
            settings: the section `drive`.
            video: its file.

        Raises:
            UserError: it cannot be shown in this format, or the background's image is not there.
        """
        body, still = self.body or settings["body"], self.still_frame
        if still is None:
            # The section's is that of the motions with paste.
            still = settings["still_frame"] if body == PASTE else 0
        look = Look(self.background or settings["background"], body, still).resolved(video)
        if look.image and (trouble := _trouble(look.image)):
            place = f" of '{self.name}'" if self.background else " (option drive.background)"
            raise UserError(
                f"the background '{shown(look.image)}'{place} {trouble}; use {BACKGROUNDS}"
            )
        return look

    def voice_flags(self, voice: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Flags of `speak_motion.py`.

        Args:
            voice: that `options.voice` stands for.
            settings: the section `speech`, of which the voice's own options are taken.
        """
        return {
            "voice": voice,
            "asked": self.options.voice,
            "head_motion": self.options.head_motion,
            "blinks": YES if self.options.blinks else NO,
        } | {name: settings[name] for name in own_options(voice)}


def motion_of_row(row: Mapping[str, str], where: str, subjects: Collection[str]) -> Motion:
    """A row as a motion.

    Args:
        row: a cell, perhaps empty, for each of `COLUMNS` and `OPTIONAL_COLUMNS`.
        where: the row's place, for messages.
        subjects: names of the subjects.

    Raises:
        UserError: a cell cannot be used; the message begins with `where`.
    """
    name, kind, file = row["name"], row["kind"], row["file"]
    if kind not in KINDS:
        raise UserError(f"{where}: unknown kind '{shown(kind)}'; one of {', '.join(KINDS)}")
    if KINDS[kind].speech and file == BUILTIN:
        file = BUILTIN_SENTENCE
    elif KINDS[kind].subject and file in subjects:
        file = f"work/{file}/track/track.npz"
    elif trouble := _trouble(file):
        hint = "; give a subject's name or a track.npz" if KINDS[kind].subject else ""
        raise UserError(f"{where}: the file '{shown(file)}' of '{name}' {trouble}{hint}")
    elif KINDS[kind].suffixes and Path(file).suffix.lower() not in KINDS[kind].suffixes:
        suffixes = " or ".join(KINDS[kind].suffixes)
        raise UserError(
            f"{where}: the file '{shown(file)}' of '{name}' must end in {suffixes} for {kind}; "
            "give another file or kind"
        )
    for column in ("audio", "transcript"):
        if row[column] and (trouble := _trouble(row[column])):
            raise UserError(f"{where}: the {column} '{shown(row[column])}' of '{name}' {trouble}")
    audio = row["audio"] or (file if KINDS[kind].speech else "")
    still = row["still_frame"]
    if still and not (still.isascii() and still.isdigit() and len(still) < 10):
        raise UserError(
            f"{where}: still_frame is '{shown(still)}', expected the id of a frame of the clip"
        )
    look = row["background"], row["body"], int(still) if still else None
    made = Motion(name, kind, file, audio, _options(row, where, subjects), *look)
    try:
        # The last format and body paste can show everything.
        section = {"background": AUTO, "body": PASTE, "still_frame": 0}
        made.look(section, f"{name}{list(FORMATS)[-1]}")
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    return made


def _trouble(path: str) -> str | None:
    """Why a file cannot be used, as words that follow its name; None if it can.

    A file that the stages of driven videos write might need the video that it is given for.
    """
    if trouble := file_problem(path):
        return trouble
    if _OF_MOTIONS.fullmatch(os.path.relpath(path)):
        return "is itself made of a row of this table; copy it elsewhere"
    return None


def _options(row: Mapping[str, str], where: str, subjects: Collection[str]) -> MotionOptions:
    """Options of a row whose kind is known; `UserError` for those that cannot be used."""
    kind = row["kind"]
    if row["blinks"] and not KINDS[kind].blinks:
        raise UserError(f"{where}: {kind} motions have blinks of their own; leave 'blinks' empty")
    if row["blinks"] not in ("", YES, NO):
        raise UserError(f"{where}: 'blinks' is '{shown(row['blinks'])}', expected {YES} or {NO}")
    chosen = {}
    for column, allowed in _CHOICES.items():
        chosen[column] = row[column] or allowed[0]
        if chosen[column] not in allowed:
            raise UserError(
                f"{where}: unknown {column} '{shown(row[column])}'; one of {', '.join(allowed)}"
            )
    require_fitting(where, kind, chosen["face"], [name for name in FACE_COLUMNS if row[name]])
    for column in ("neutral", "subject_neutral"):
        try:
            chosen[column] = frame_numbers(row[column])
        except UserError as error:
            raise UserError(f"{where}: {column} {error}") from None
    chosen["voice"] = _voice(row, where, subjects)
    chosen["transcript"] = Path(row["transcript"]) if row["transcript"] else None
    return MotionOptions(blinks=row["blinks"] != NO, **chosen)


def _voice(row: Mapping[str, str], where: str, subjects: Collection[str]) -> str:
    """The voice of a row; `UserError` for one that is unknown, or of a motion without speech."""
    voice, kind = row["voice"] or AUTO, row["kind"]
    if (row["voice"] or row["transcript"]) and not KINDS[kind].speech:
        raise UserError(
            f"{where}: {kind} motions have no voice; leave 'voice' and 'transcript' empty"
        )
    if voice != AUTO and voice not in VOICES and voice not in subjects:
        raise UserError(
            f"{where}: voice '{shown(voice)}': {VOICES.hint(voice)}; or {AUTO}, or a subject's name"
        )
    return voice
