"""The workflow's settings: a closed schema, presets, and the table of subjects.

Everything here raises `UserError` with one line that names the file, the key and the cure.
"""

import difflib
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from headsplat.errors import UserError
from headsplat.imports.kinds import FRAME_DELTA_KINDS, KINDS, OWN_PICTURES
from headsplat.tables import read_rows

SUBJECT_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]*"
HEADS = ("procedural", "ict", "flame")
BUILTIN_VIDEO = "builtin"
COLUMNS = ("subject", "video", "head", "preset")
OPTIONAL_COLUMNS = (
    "intrinsics", "identity", "import", "frame_delta", "flame_version", "checkpoint", "avatar",
)  # fmt: skip
# Columns that name a file of the user's, and what it is.
_FILES = {
    "identity": "identity code", "checkpoint": "checkpoint", "avatar": "checkpoint",
}  # fmt: skip
NO_VIDEO = ("", "-")
_SHOWN = 5  # names that a line lists


def _dotted(path: Any) -> str:
    return ".".join(str(part) for part in path)


def _unknown_key(error: jsonschema.ValidationError) -> str:
    known = list(error.schema.get("properties", {}))
    unknown = next(key for key in error.instance if key not in known)
    where = _dotted([*error.absolute_path, unknown])
    close = difflib.get_close_matches(unknown, known, n=1, cutoff=0.5)
    if close:
        return (
            f"'{where}' is not an option; did you mean '{_dotted([*error.absolute_path, *close])}'?"
        )
    return f"'{where}' is not an option; possible are: {', '.join(sorted(known))}"


def validate(config: dict[str, Any], schema_file: Path, config_file: str) -> None:
    """Check `config` against the closed schema.

    Raises:
        UserError: names the first offending key, what it must be, or the nearest valid one.
    """
    schema = yaml.safe_load(schema_file.read_text())
    validator = jsonschema.Draft202012Validator(schema)
    errors = sorted(validator.iter_errors(config), key=lambda e: list(map(str, e.absolute_path)))
    if not errors:
        return
    error = errors[0]
    if error.validator == "additionalProperties":
        raise UserError(f"{config_file}: {_unknown_key(error)}")
    raise UserError(f"{config_file}: {_dotted(error.absolute_path)}: {error.message}")


def merged(base: dict[str, Any], override: dict[str, Any]) -> dict[str, Any]:
    """`base` with the keys of `override` laid over it, section by section; neither is changed."""
    out = dict(base)
    for key, value in override.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = merged(out[key], value) if both else value
    return out


def pattern_of(names: Collection[str]) -> str:
    """A regular expression that matches these names and no others; of no name, nothing.

    Common beginnings are factored out, so that a match costs the length of a name and not the
    number of names: Snakemake tries the patterns of several rules on each file.
    """
    if not names:
        return "(?!)"
    if len(names) == 1:
        return re.escape(next(iter(names)))
    tails: dict[str, list[str]] = {}
    for name in sorted(names):
        tails.setdefault(name[:1], []).append(name[1:])
    branches = (
        re.escape(first) + (pattern_of(rest) if first else "") for first, rest in tails.items()
    )
    return f"(?:{'|'.join(branches)})"


def pattern_among(names: Collection[str], everyone: Collection[str]) -> str:
    """A regular expression that matches these names and none of the others of `everyone`.

    It is written by whichever are fewer: Snakemake goes through the text of a rule's patterns for
    each of its jobs.
    """
    others = set(everyone) - set(names)
    if len(others) >= len(names):
        return pattern_of(names)
    left_out = f"(?!{pattern_of(others)}(?![A-Za-z0-9_-]))" if others else ""
    return left_out + SUBJECT_NAME


class Subjects(dict[str, dict[str, str]]):
    """Subject name -> its row, in the table's order.

    Attributes:
        table: the file they come from.

    Raises:
        UserError: a name that is not in the table was looked up.
    """

    def __init__(self, table: Path) -> None:
        super().__init__()
        self.table = table

    def __missing__(self, name: str) -> dict[str, str]:
        known = ", ".join(list(self)[:_SHOWN]) + (", ..." if len(self) > _SHOWN else "")
        raise UserError(f"{self.table} lists no subject '{name}' but {known}; add a line for it")


def read_subjects(table: Path, presets: dict[str, Any]) -> Subjects:
    """Read the tab-separated table of subjects: subject name -> its row.

    Args:
        table: file with the header `subject video head preset` (tab-separated); `intrinsics`
            (fx,fy,cx,cy in the video's pixels), `identity` (a MICA code), `checkpoint`
            (FlashAvatar's chkpntN.pth that training goes on from) and `avatar` (one to be drawn as
            it is) are optional columns.
            `import` (`<kind>:<folder>` of another tool's track, see `headsplat.imports.kinds`)
            takes the place of a video: `video` is then empty, '-' or, for some kinds, a folder
            of pictures; the row gains `kind` and `folder`, and an empty `video`.
            `frame_delta` and `flame_version` belong to `import`. Lines that start with '#' are
            comments.
        presets: the presets of the configuration; an empty cell means 'standard'.

    Raises:
        UserError: a column, name, video, head or preset that cannot be used, with its line.
    """
    subjects = Subjects(table)
    for where, row in read_rows(table, COLUMNS, OPTIONAL_COLUMNS):
        _check_row(row, where, presets)
        if row["subject"] in subjects:
            raise UserError(f"{where}: the subject '{row['subject']}' is listed twice; rename one")
        subjects[row["subject"]] = row
    if not subjects:
        raise UserError(f"{table}: lists no subject; add a line: name, video, head, preset")
    return subjects


def _check_row(row: dict[str, str], where: str, presets: dict[str, Any]) -> None:
    name = row["subject"]
    if not re.fullmatch(SUBJECT_NAME, name):
        raise UserError(f"{where}: '{name}' is no subject name; use letters, digits, '_' and '-'")
    row["head"] = row["head"] or "ict"
    row["preset"] = row["preset"] or "standard"
    if row["head"] not in HEADS:
        raise UserError(f"{where}: unknown head '{row['head']}'; one of {', '.join(HEADS)}")
    if row["preset"] not in presets:
        raise UserError(f"{where}: unknown preset '{row['preset']}'; one of {', '.join(presets)}")
    if row.get("import"):
        _check_import(row, where)
    else:
        _check_video(row, where)
    for column, what in _FILES.items():
        if row.get(column) and not Path(row[column]).is_file():
            raise UserError(f"{where}: the {what} '{row[column]}' of '{name}' is not there")
    if row.get("checkpoint") and row.get("avatar"):
        raise UserError(
            f"{where}: '{name}' has both a 'checkpoint' to train on and an 'avatar' to be drawn as "
            "it is; leave one cell empty"
        )


def _check_video(row: dict[str, str], where: str) -> None:
    for column in ("frame_delta", "flame_version"):
        if row.get(column):
            raise UserError(
                f"{where}: '{column}' is only for rows with an 'import'; leave it empty"
            )
    if row["video"] != BUILTIN_VIDEO and not Path(row["video"]).is_file():
        raise UserError(f"{where}: the video '{row['video']}' of '{row['subject']}' is not there")


def check_checkpoints(subjects: dict[str, dict[str, str]], config: dict[str, Any]) -> None:
    """Refuse to go on from a FlashAvatar checkpoint with another model.

    Raises:
        UserError: names the subject and its preset.
    """
    for name, row in subjects.items():
        if not row.get("checkpoint"):
            continue
        model = merged(config, config["presets"][row["preset"]])["train"]["model"]
        if model != "flashavatar":
            raise UserError(
                f"subject '{name}': its checkpoint is FlashAvatar's, but train.model of preset "
                f"'{row['preset']}' is {model}; set it to flashavatar"
            )


def _check_import(row: dict[str, str], where: str) -> None:
    """Split `import` into `kind` and `folder`, and see that the other cells go with it."""
    kind, _, folder = row["import"].partition(":")
    row["kind"], row["folder"] = kind.strip(), folder.strip()
    if row["kind"] not in KINDS:
        close = difflib.get_close_matches(row["kind"], KINDS, n=1, cutoff=0.5)
        hint = f"did you mean '{close[0]}'?" if close else f"one of {', '.join(KINDS)}"
        raise UserError(f"{where}: cannot import '{row['import']}'; <kind>:<folder>, {hint}")
    if not row["folder"] or not Path(row["folder"]).is_dir():
        raise UserError(f"{where}: the folder '{row['folder']}' to import is not there")
    for column in ("intrinsics", "identity"):
        if row.get(column):
            raise UserError(f"{where}: '{column}' comes with the import; leave it empty")
    if row["video"] in NO_VIDEO:
        row["video"] = ""
    elif row["kind"] not in OWN_PICTURES:
        raise UserError(f"{where}: {row['kind']} brings its own pictures; write '-' under 'video'")
    elif not Path(row["video"]).is_dir():
        raise UserError(
            f"{where}: with an import, 'video' is '-' or a folder of numbered pictures; "
            f"'{row['video']}' is no folder"
        )
    delta = row.get("frame_delta")
    if delta and not re.fullmatch(r"-?\d{1,6}", delta):
        raise UserError(f"{where}: 'frame_delta' is '{delta}', expected a whole number")
    if delta and row["kind"] not in FRAME_DELTA_KINDS:
        raise UserError(f"{where}: {row['kind']} names its pictures; leave 'frame_delta' empty")
    if row.get("flame_version") not in (None, "", "2020", "2023"):
        raise UserError(
            f"{where}: 'flame_version' is '{row['flame_version']}', expected 2020 or 2023"
        )
