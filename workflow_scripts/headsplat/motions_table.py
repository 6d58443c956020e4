"""The table of motions that avatars are driven by, `motions.tsv` beside the table of subjects.

Everything here raises `UserError` with one line that names the file, the line and the cure.
"""

import difflib
import re
from collections.abc import Collection
from pathlib import Path

from headsplat.config import SUBJECT_NAME
from headsplat.drive.kinds import DIFFPOSETALK, HEAD_MOTIONS, KINDS, RELATIVE, TRACK
from headsplat.errors import UserError
from headsplat.tables import read_rows

COLUMNS = ("name", "kind", "file")
OPTIONAL_COLUMNS = ("audio", "head_motion", "blinks")
YES, NO = "yes", "no"


def read_motions(table: Path, subjects: Collection[str]) -> dict[str, dict[str, str]]:
    """Read the tab-separated table: motion name -> its row, with all columns; none without a file.

    Args:
        table: file with the header `name kind file`; `audio` (a sound or video file),
            `head_motion` (of `HEAD_MOTIONS`, empty for the first) and `blinks` (yes or no, empty
            for yes; only of `diffposetalk`) are optional columns. `file` of a `track` may be the
            name of a subject. Lines that start with '#' are comments.
        subjects: names of the subjects.

    Raises:
        UserError: a column, name, kind, file or option that cannot be used, with its line.
    """
    if not table.exists():
        return {}
    motions: dict[str, dict[str, str]] = {}
    for where, row in read_rows(table, COLUMNS, OPTIONAL_COLUMNS):
        _check_row(row, where, subjects)
        if row["name"] in motions:
            raise UserError(f"{where}: the motion '{row['name']}' is listed twice; rename one")
        motions[row["name"]] = row
    return motions


def _check_row(row: dict[str, str], where: str, subjects: Collection[str]) -> None:
    name, kind, file = row["name"], row["kind"], row["file"]
    if not re.fullmatch(SUBJECT_NAME, name):
        raise UserError(f"{where}: '{name}' is no motion name; use letters, digits, '_' and '-'")
    if kind not in KINDS:
        raise UserError(f"{where}: unknown kind '{kind}'; one of {', '.join(KINDS)}")
    if kind == TRACK and file in subjects:
        row["file"] = f"work/{file}/track/track.npz"
    elif not Path(file).is_file():
        hint = "; give a subject's name or a track.npz" if kind == TRACK else ""
        raise UserError(f"{where}: the file '{file}' of '{name}' is not there{hint}")
    if row["audio"] and not Path(row["audio"]).is_file():
        raise UserError(f"{where}: the audio '{row['audio']}' of '{name}' is not there")
    row["head_motion"] = row["head_motion"] or RELATIVE
    if row["head_motion"] not in HEAD_MOTIONS:
        raise UserError(
            f"{where}: unknown head_motion '{row['head_motion']}'; one of {', '.join(HEAD_MOTIONS)}"
        )
    if row["blinks"] and kind != DIFFPOSETALK:
        raise UserError(f"{where}: {kind} motions have blinks of their own; leave 'blinks' empty")
    row["blinks"] = row["blinks"] or YES
    if row["blinks"] not in (YES, NO):
        raise UserError(f"{where}: 'blinks' is '{row['blinks']}', expected {YES} or {NO}")


def motion_for(
    motions: dict[str, dict[str, str]], table: Path, name: str, head: str
) -> dict[str, str]:
    """The row of one motion, which a subject with this head can play.

    Raises:
        UserError: no such motion, or its codes are those of other heads.
    """
    if name not in motions:
        close = difflib.get_close_matches(name, motions, n=1, cutoff=0.5)
        hint = f"did you mean '{close[0]}'?" if close else "add a line: name, kind, file"
        raise UserError(f"{table}: there is no motion '{name}'; {hint}")
    row = motions[name]
    heads = KINDS[row["kind"]]
    if heads is not None and head not in heads:
        raise UserError(
            f"{table}: '{name}' is a {row['kind']} motion, for subjects whose head is "
            f"{' or '.join(heads)}; this one's is {head}"
        )
    return row
