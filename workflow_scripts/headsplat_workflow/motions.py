"""The table of driving motions, `motions.tsv` beside the table of subjects, and who they drive.

Everything here raises `UserError` with one line that names the file, the line and the fix.
"""

import difflib
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from headsplat_workflow.motion_row import COLUMNS, OPTIONAL_COLUMNS, Motion, motion_of_row
from headsplat_workflow.named_rows import NamedRows
from headsplat_workflow.subjects import Subject

from headsplat.drive.kinds import AUTO, KINDS
from headsplat.drive.look import TORSO, Look
from headsplat.runtime.errors import UserError, shown
from headsplat.runtime.tables import Row, read_rows
from headsplat.speech.voices import PERSONAL, VOICES, chosen_voice


def read_motions(table: Path, subjects: Collection[str]) -> NamedRows[Motion]:
    """Read the tab-separated table of motions; none without a file.

    A row that cannot be used is set aside (`NamedRows.refused`), and the others are not.

    Args:
        table: file with the header `name kind file`; `audio` (a sound or video file),
            `head_motion` (of `HEAD_MOTIONS`, empty for the first) and `blinks` (yes or no, empty
            for yes; only of kinds that lack blinks) are optional columns. So are `face` (of
            `FACES`, empty for the first), `amplitude` (of `AMPLITUDES`, likewise), `neutral` and
            `subject_neutral` (numbers of frames); `voice` and `transcript` (only of speech); and
            `background`, `body` and `still_frame`, in place of the options in the section `drive`.
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
        return motion_of_row(row.cells, row.where, subjects)

    for row in read_rows(table, COLUMNS, OPTIONAL_COLUMNS):
        motions.add(row, "motion", make)
    return motions


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


def require_torso(look: Look, subject: Subject, training: Mapping[str, Any]) -> None:
    """Raise `UserError` for body torso where the avatar will have none.

    Args:
        look: of a driven video.
        subject: whose avatar it shows.
        training: the section `train` under the subject's preset.
    """
    if look.body == TORSO and training["body"] != TORSO and not subject.avatar:
        raise UserError(
            f"body {TORSO}: {subject.name}'s avatar has no torso, because train.body of preset "
            f"{subject.preset} is {training['body']}; set it to {TORSO}, or choose another body"
        )


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
    made = motion_of_row(cells, "section speak", subjects)
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
