"""The table of driving motions, `motions.tsv` beside the table of subjects.

Everything here raises `UserError` with one line that names the file, the line and the fix.
"""

import difflib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headsplat_workflow.named_rows import NamedRows
from headsplat_workflow.subjects import Subject
from headsplat_workflow.user_files import file_problem

from headsplat.drive.face_options import COLUMNS as FACE_COLUMNS
from headsplat.drive.face_options import frame_numbers, frame_text, require_fitting
from headsplat.drive.kinds import AMPLITUDES, AUTO, FACES, HEAD_MOTIONS, KINDS, MotionOptions
from headsplat.drive.look import Look
from headsplat.runtime.errors import UserError, shown
from headsplat.runtime.tables import Row, read_rows
from headsplat.speech.voices import PERSONAL, VOICES, chosen_voice, own_options
from headsplat.video.formats import FORMATS

COLUMNS = ("name", "kind", "file")
LOOK_COLUMNS = ("background", "body")
OPTIONAL_COLUMNS = (
    "audio", "head_motion", "blinks", *FACE_COLUMNS, "voice", "transcript", *LOOK_COLUMNS,
)  # fmt: skip
YES, NO = "yes", "no"
# Kind of the file that the stage `speak_motion` makes of a sound.
SPOKEN = "motion"
BUILTIN, BUILTIN_SENTENCE = "builtin", "work/builtin/hello.wav"  # spoken by the built-in voice
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
    """

    name: str
    kind: str
    file: str
    audio: str = ""
    options: MotionOptions = MotionOptions()
    background: str = ""
    body: str = ""

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
        asked = {name: getattr(self, name) or settings[name] for name in LOOK_COLUMNS}
        look = Look(**asked).resolved(video)
        if look.image and (trouble := file_problem(look.image)):
            raise UserError(f"the background '{shown(look.image)}' of '{self.name}' {trouble}")
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


def read_motions(table: Path, subjects: Collection[str]) -> NamedRows[Motion]:
    """Read the tab-separated table of motions; none without a file.

    A row that cannot be used is set aside (`NamedRows.refused`), and the others are not.

    Args:
        table: file with the header `name kind file`; `audio` (a sound or video file),
            `head_motion` (of `HEAD_MOTIONS`, empty for the first) and `blinks` (yes or no, empty
            for yes; only of kinds that lack blinks) are optional columns. So are `face` (of
            `FACES`, empty for the first), `amplitude` (of `AMPLITUDES`, likewise), `neutral` and
            `subject_neutral` (numbers of frames); `voice` and `transcript` (only of speech); and
            `background` and `body`, in place of the options in the section `drive`.
            `file` of a `track` may be the name of a subject, of `speech` `builtin`. Lines that
            start with '#' are comments.
        subjects: names of the subjects.

    Raises:
        UserError: the table as a whole cannot be used.
    """
    motions = NamedRows[Motion](table)
    if not table.exists():
        return motions

    def make(row: Row) -> Motion:
        return _motion(row.cells, row.where, subjects)

    for row in read_rows(table, COLUMNS, OPTIONAL_COLUMNS):
        motions.add(row, "motion", make)
    return motions


def _motion(row: Mapping[str, str], where: str, subjects: Collection[str]) -> Motion:
    """A row as a motion; `UserError`, which begins with `where`, for one that cannot be used."""
    name, kind, file = row["name"], row["kind"], row["file"]
    if kind not in KINDS:
        raise UserError(f"{where}: unknown kind '{shown(kind)}'; one of {', '.join(KINDS)}")
    if KINDS[kind].speech and file == BUILTIN:
        file = BUILTIN_SENTENCE
    elif KINDS[kind].subject and file in subjects:
        file = f"work/{file}/track/track.npz"
    elif trouble := file_problem(file):
        hint = "; give a subject's name or a track.npz" if KINDS[kind].subject else ""
        raise UserError(f"{where}: the file '{shown(file)}' of '{name}' {trouble}{hint}")
    elif KINDS[kind].suffixes and Path(file).suffix.lower() not in KINDS[kind].suffixes:
        suffixes = " or ".join(KINDS[kind].suffixes)
        raise UserError(
            f"{where}: the file '{shown(file)}' of '{name}' must end in {suffixes} for {kind}; "
            "give another file or kind"
        )
    for column in ("audio", "transcript"):
        if row[column] and (trouble := file_problem(row[column])):
            raise UserError(f"{where}: the {column} '{shown(row[column])}' of '{name}' {trouble}")
    audio = row["audio"] or (file if KINDS[kind].speech else "")
    options, look = _options(row, where, subjects), (row["background"], row["body"])
    made = Motion(name, kind, file, audio, options, *look)
    try:
        # The last format can show everything.
        made.look({"background": AUTO, "body": AUTO}, f"{name}{list(FORMATS)[-1]}")
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    return made


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


def voice_of(
    motion: Motion, subject: Subject, subjects: Mapping[str, Subject], found: Collection[str]
) -> tuple[str, str]:
    """The voice of a motion with speech, and the subject whose own voice it is.

    Args:
        motion: of a kind with speech.
        subject: who speaks.
        subjects: by name.
        found: names of the assets of voices that are there.

    Raises:
        UserError: the voice does not serve the subject's head model.
    """
    if motion.options.voice in (AUTO, *VOICES):
        return chosen_voice(motion.options.voice, subject.head, found), subject.name
    speaker = subjects[motion.options.voice]
    if speaker.head != subject.head:
        raise UserError(
            f"'{motion.name}' has the voice of {speaker.name}, whose head is {speaker.head}; "
            f"{subject.name}'s is {subject.head}; take a voice of the same head"
        )
    return PERSONAL, speaker.name


def add_spoken(
    motions: NamedRows[Motion], subjects: NamedRows[Subject], asked: Mapping[str, Any]
) -> tuple[str, str] | None:
    """Add the motion of the configuration's section `speak`, which needs no row.

    Returns:
        (subject, motion), or None if the section names no sound.

    Raises:
        UserError: a file or name that cannot be used.
    """
    subject, sound = asked["subject"], asked["sound"]
    if sound is None:
        return None
    if subject is None:
        raise UserError("speak.subject: not given; name the subject that says the sound")
    if subject in subjects.refused:
        raise UserError(f"speak.subject '{subject}': {subjects.refused[subject]}")
    if subject not in subjects:
        known = ", ".join(list(subjects)[:8])
        raise UserError(f"speak.subject '{shown(str(subject))}': no such subject; one of {known}")
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(sound).stem).strip("-_")[:60] or "speech"
    cells = {column: "" for column in (*COLUMNS, *OPTIONAL_COLUMNS)}
    cells |= {"name": name, "kind": "speech", "file": sound, "voice": asked["voice"]}
    cells["transcript"] = asked["transcript"] or ""
    made = _motion(cells, "section speak", subjects)
    if motions.get(name, made) != made:
        raise UserError(
            f"speak.sound '{shown(sound)}': {motions.table} has another motion '{name}'; "
            "rename the file"
        )
    motions[name] = made
    return subject, name


def motion_for(motions: NamedRows[Motion], name: str, head: str) -> Motion:
    """The motion of a name, checked against the subject's head model.

    Raises:
        UserError: no such motion, its row is refused, or its codes are those of other heads.
    """
    table = motions.table
    if name in motions.refused:
        raise UserError(motions.refused[name])
    if name not in motions:
        close = difflib.get_close_matches(name, motions, n=1, cutoff=0.5)
        hint = f"did you mean '{close[0]}'?" if close else "add a line: name, kind, file"
        raise UserError(f"{table}: there is no motion '{shown(name)}'; {hint}")
    motion = motions[name]
    heads = KINDS[motion.kind].heads
    if heads is not None and head not in heads:
        raise UserError(
            f"{table}: '{name}' is a {motion.kind} motion, for subjects whose head is "
            f"{' or '.join(heads)}; this one's is {head}"
        )
    return motion
