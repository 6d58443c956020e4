"""The table of driving motions, `motions.tsv` beside the table of subjects.

Everything here raises `UserError` with one line that names the file, the line and the fix.
"""

import difflib
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from headsplat_workflow.named_rows import NamedRows
from headsplat_workflow.user_files import file_problem

from headsplat.drive.face_options import COLUMNS as FACE_COLUMNS
from headsplat.drive.face_options import frame_numbers, frame_text, require_fitting
from headsplat.drive.kinds import AMPLITUDES, FACES, HEAD_MOTIONS, KINDS, MotionOptions
from headsplat.runtime.errors import UserError, shown
from headsplat.runtime.tables import Row, read_rows

COLUMNS = ("name", "kind", "file")
OPTIONAL_COLUMNS = ("audio", "head_motion", "blinks", *FACE_COLUMNS)
YES, NO = "yes", "no"
# Columns of one of a few words, the default first.
_CHOICES = {"head_motion": HEAD_MOTIONS, "face": FACES, "amplitude": AMPLITUDES}


@dataclass(frozen=True)
class Motion:
    """One row of the table.

    Attributes:
        name: unique in the table.
        kind: of `headsplat.drive.kinds.KINDS`.
        file: the motion; of a subject its track, which the workflow makes.
        audio: sound or video file, or "".
        options: of the motion.
    """

    name: str
    kind: str
    file: str
    audio: str = ""
    options: MotionOptions = field(default_factory=MotionOptions)

    @property
    def made(self) -> bool:
        """Whether the workflow makes the file, perhaps in this run."""
        return self.file.startswith("work/")

    def flags(self) -> dict[str, str]:
        """Flags of `drive_avatar.py` that depend on the row alone."""
        return {
            "kind": self.kind,
            "head_motion": self.options.head_motion,
            "blinks": YES if self.options.blinks else NO,
            "face": self.options.face,
            "amplitude": self.options.amplitude,
            "neutral": frame_text(self.options.neutral),
            "subject_neutral": frame_text(self.options.subject_neutral),
            "audio": self.audio,
        }


def read_motions(table: Path, subjects: Collection[str]) -> NamedRows[Motion]:
    """Read the tab-separated table of motions; none without a file.

    A row that cannot be used is set aside (`NamedRows.refused`), and the others are not.

    Args:
        table: file with the header `name kind file`; `audio` (a sound or video file),
            `head_motion` (of `HEAD_MOTIONS`, empty for the first) and `blinks` (yes or no, empty
            for yes; only of kinds that lack blinks) are optional columns. So are `face` (of
            `FACES`, empty for the first), `amplitude` (of `AMPLITUDES`, likewise), `neutral` and
            `subject_neutral` (numbers of frames). `file` of a `track` may be the name of a subject.
            Lines that start with '#' are comments.
        subjects: names of the subjects.

    Raises:
        UserError: the table as a whole cannot be used.
    """
    motions = NamedRows[Motion](table)
    if not table.exists():
        return motions
    make = partial(_motion, subjects=subjects)
    for row in read_rows(table, COLUMNS, OPTIONAL_COLUMNS):
        motions.add(row, "motion", make)
    return motions


def _motion(table_row: Row, subjects: Collection[str]) -> Motion:
    """A row as a motion; `UserError` for one that cannot be used."""
    row, where = table_row.cells, table_row.where
    name, kind, file = row["name"], row["kind"], row["file"]
    if kind not in KINDS:
        raise UserError(f"{where}: unknown kind '{shown(kind)}'; one of {', '.join(KINDS)}")
    if KINDS[kind].subject and file in subjects:
        file = f"work/{file}/track/track.npz"
    elif trouble := file_problem(file):
        hint = "; give a subject's name or a track.npz" if KINDS[kind].subject else ""
        raise UserError(f"{where}: the file '{shown(file)}' of '{name}' {trouble}{hint}")
    elif Path(file).suffix.lower() not in KINDS[kind].suffixes:
        suffixes = " or ".join(KINDS[kind].suffixes)
        raise UserError(
            f"{where}: the file '{shown(file)}' of '{name}' must end in {suffixes} for {kind}; "
            "give another file or kind"
        )
    if row["audio"] and (trouble := file_problem(row["audio"])):
        raise UserError(f"{where}: the audio '{shown(row['audio'])}' of '{name}' {trouble}")
    return Motion(name, kind, file, row["audio"], _options(table_row))


def _options(table_row: Row) -> MotionOptions:
    """Options of a row whose kind is known; `UserError` for those that cannot be used."""
    row, where, kind = table_row.cells, table_row.where, table_row.cells["kind"]
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
    return MotionOptions(blinks=row["blinks"] != NO, **chosen)


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
