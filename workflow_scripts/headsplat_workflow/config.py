"""The workflow's settings: a closed schema, presets, and the table of subjects.

Everything here raises `UserError` with one line that names the file, the key and the fix.
"""

import difflib
import math
import re
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from headsplat_workflow.named_rows import NAME, NamedRows
from headsplat_workflow.user_files import file_problem, folder_problem

from headsplat.formats.registry import FORMATS
from headsplat.heads.registry import HEADS
from headsplat.masks.registry import AUTO, MATTING_MODELS, PARSING_MODELS
from headsplat.runtime.errors import LONGEST, UserError, shown
from headsplat.runtime.tables import Row, read_rows
from headsplat.train.checkpoint_formats import CHECKPOINTS
from headsplat.train.options import all_options

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
# Values of a configuration at most; YAML references to each other can make billions.
_MOST_VALUES = 10_000


def _dotted(path: Any) -> str:
    return ".".join(str(part) for part in path)


def _unknown_key(error: jsonschema.ValidationError) -> str:
    known = list(error.schema.get("properties", {}))
    unknown = next(shown(str(key)) for key in error.instance if key not in known)
    where = _dotted([*error.absolute_path, unknown])
    close = difflib.get_close_matches(unknown, known, n=1, cutoff=0.5)
    if close:
        return (
            f"'{where}' is not an option; did you mean '{_dotted([*error.absolute_path, *close])}'?"
        )
    return f"'{where}' is not an option; possible are: {', '.join(sorted(known))}"


def load_schema(schema_file: Path) -> dict[str, Any]:
    """The schema in a file, with what the tables of plug-ins add.

    These are the options of `train`, the deformation models' own among them, and the names of
    matting and parsing models.
    """
    schema = yaml.safe_load(schema_file.read_text())
    sections = {name: value.get("properties") for name, value in schema["$defs"].items()}
    sections["train"].update(all_options())
    for section, models in (("matte", MATTING_MODELS), ("parse", PARSING_MODELS)):
        sections[section]["model"] = {
            "enum": [AUTO, *models],
            "description": f"auto: a network where its weights are found; {models.described()}",
        }
    return schema


def validate(config: dict[str, Any], schema_file: Path, config_file: str) -> None:
    """Check `config` against the closed schema.

    Raises:
        UserError: names the first offending key, what it must be, or the nearest valid one.
    """
    _require_few_values(config, config_file)
    schema = load_schema(schema_file)
    validator = jsonschema.Draft202012Validator(schema)
    errors = sorted(validator.iter_errors(config), key=lambda e: list(map(str, e.absolute_path)))
    if not errors:
        return
    error = errors[0]
    if error.validator == "additionalProperties":
        raise UserError(f"{config_file}: {_unknown_key(error)}")
    message = shown(error.message, 2 * LONGEST)
    raise UserError(f"{config_file}: {_dotted(error.absolute_path)}: {message}")


def _require_few_values(config: dict[str, Any], config_file: str) -> None:
    """Refuse what would take forever to look through."""
    left: list[Any] = [config]
    for _ in range(_MOST_VALUES):
        if not left:
            return
        value = left.pop()
        if isinstance(value, dict):
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)
    raise UserError(
        f"{config_file}: holds more than {_MOST_VALUES:,} values; keep to the options that "
        "config/schema.yaml lists"
    )


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
    return left_out + NAME


class Subjects(NamedRows):
    """Subject name -> its row.

    Raises:
        UserError: a name that is not in the table, or that is refused, was looked up.
    """

    def __missing__(self, name: str) -> dict[str, str]:
        if name in self.refused:
            raise UserError(self.refused[name])
        known = ", ".join(list(self)[:_SHOWN]) + (", ..." if len(self) > _SHOWN else "")
        raise UserError(
            f"{self.table} lists no subject '{shown(name)}' but {known}; add a line for it"
        )


def read_subjects(table: Path, presets: dict[str, Any]) -> Subjects:
    """Read the tab-separated table of subjects: subject name -> its row.

    A row that cannot be used is set aside (`Subjects.refused`), and the others are not.

    Args:
        table: file with the header `subject video head preset` (tab-separated); `intrinsics`
            (fx,fy,cx,cy in the video's pixels), `identity` (a MICA code), `checkpoint`
            (FlashAvatar's chkpntN.pth that training goes on from) and `avatar` (one to be drawn as
            it is) are optional columns.
            `import` (`<kind>:<folder>` of another tool's track) takes the place of a video:
            `video` is then empty, '-' or, for some kinds, a folder of images;
            the row gains `kind` and `folder`, and an empty `video`.
            `frame_delta` and `flame_version` belong to `import`. Lines that start with '#' are
            comments.
        presets: the presets of the configuration; an empty cell means 'standard'.

    Raises:
        UserError: the table as a whole cannot be used.
    """
    subjects = Subjects(table)
    check = partial(_check_row, presets=presets)
    for row in read_rows(table, COLUMNS, OPTIONAL_COLUMNS):
        subjects.add(row, "subject", check)
    if not subjects and not subjects.refused:
        raise UserError(f"{table}: lists no subject; add a line: name, video, head, preset")
    return subjects


def _check_row(table_row: Row, presets: dict[str, Any]) -> None:
    row, where = table_row.cells, table_row.where
    name = row["subject"]
    row["head"] = row["head"] or "ict"
    row["preset"] = row["preset"] or "standard"
    if row["head"] not in HEADS:
        raise UserError(f"{where}: unknown head '{shown(row['head'])}'; one of {', '.join(HEADS)}")
    if row["preset"] not in presets:
        known = ", ".join(presets)
        raise UserError(f"{where}: unknown preset '{shown(row['preset'])}'; one of {known}")
    if row.get("import"):
        _check_import(row, where)
    else:
        _check_video(row, where)
    for column, what in _FILES.items():
        if row.get(column) and (trouble := file_problem(row[column])):
            raise UserError(f"{where}: the {what} '{shown(row[column])}' of '{name}' {trouble}")
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
    if row["video"] != BUILTIN_VIDEO and (trouble := file_problem(row["video"])):
        raise UserError(
            f"{where}: the video '{shown(row['video'])}' of '{row['subject']}' {trouble}"
        )
    if row.get("intrinsics"):
        _check_intrinsics(row, where)


def _check_intrinsics(row: dict[str, str], where: str) -> None:
    """Numbers alone; what they must be for the clip, the track finds out."""
    text = row["intrinsics"]
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    good = len(values) in (4, 6) and all(0 < value < math.inf for value in values)
    if not good:
        raise UserError(
            f"{where}: 'intrinsics' of '{row['subject']}' is '{shown(text)}', expected "
            "fx,fy,cx,cy: positive numbers in pixels of the video (and, if you like, its width and "
            "height)"
        )


def refuse_checkpoints(subjects: Subjects, config: dict[str, Any]) -> None:
    """Take out subjects that would go on from a FlashAvatar checkpoint with another model."""
    for name, row in list(subjects.items()):
        if not row.get("checkpoint"):
            continue
        model = merged(config, config["presets"][row["preset"]])["train"]["model"]
        if model not in CHECKPOINTS:
            subjects.refuse(
                name,
                f"subject '{name}': its checkpoint is FlashAvatar's, but train.model of preset "
                f"'{row['preset']}' is {model}; set it to {' or '.join(CHECKPOINTS)}",
            )


def _check_import(row: dict[str, str], where: str) -> None:
    """Split `import` into `kind` and `folder`, and see that the other cells go with it."""
    name, _, folder = row["import"].partition(":")
    row["kind"], row["folder"] = name.strip(), folder.strip()
    if row["kind"] not in FORMATS:
        text, hint = shown(row["import"]), FORMATS.hint(row["kind"])
        raise UserError(f"{where}: cannot import '{text}'; <kind>:<folder>, {hint}")
    kind = FORMATS[row["kind"]]
    if trouble := folder_problem(row["folder"]):
        raise UserError(f"{where}: the folder '{shown(row['folder'])}' to import {trouble}")
    for column in ("intrinsics", "identity"):
        if row.get(column):
            raise UserError(f"{where}: '{column}' comes with the import; leave it empty")
    if row["video"] in NO_VIDEO:
        row["video"] = ""
    elif not kind.own_images:
        raise UserError(f"{where}: {row['kind']} brings its own images; write '-' under 'video'")
    elif trouble := folder_problem(row["video"]):
        raise UserError(
            f"{where}: with an import, 'video' is '-' or a folder of numbered images; "
            f"'{shown(row['video'])}' {trouble}"
        )
    delta = row.get("frame_delta")
    if delta and not re.fullmatch(r"-?\d{1,6}", delta):
        raise UserError(f"{where}: 'frame_delta' is '{shown(delta)}', expected a whole number")
    if delta and not kind.frame_delta:
        raise UserError(f"{where}: {row['kind']} names its images; leave 'frame_delta' empty")
    if row.get("flame_version") not in (None, "", "2020", "2023"):
        raise UserError(
            f"{where}: 'flame_version' is '{shown(row['flame_version'])}', expected 2020 or 2023"
        )
