"""The table of subjects: one `Subject` per row that can be used.

Everything here raises `UserError` with one line that names the file, the row and the cure.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from headsplat_workflow.named_rows import NamedRows
from headsplat_workflow.user_files import file_problem, folder_problem

from headsplat.formats.registry import FORMATS
from headsplat.heads.registry import HEADS
from headsplat.runtime.errors import UserError, shown
from headsplat.runtime.tables import Row, read_rows
from headsplat.train.checkpoint_formats import CHECKPOINTS

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


@dataclass(frozen=True)
class Subject:
    """One row of the table. Empty strings stand for empty cells.

    Attributes:
        name: unique in the table.
        video: file of the video, or "builtin"; for an import "" or a folder of images.
        head: name of the head model.
        preset: name of the preset.
        intrinsics: "fx,fy,cx,cy" or "fx,fy,cx,cy,width,height", pixels of the video.
        identity: file of an identity code.
        checkpoint: FlashAvatar's checkpoint that training goes on from.
        avatar: FlashAvatar's checkpoint that is drawn as it is.
        kind: format of an import; "" for a subject with a video.
        folder: folder of the import.
        frame_delta: the import's image number minus frame number; None for the format's own.
        flame_version: whose codes the import's are, "2020" or "2023".
    """

    name: str
    video: str = ""
    head: str = "ict"
    preset: str = "standard"
    intrinsics: str = ""
    identity: str = ""
    checkpoint: str = ""
    avatar: str = ""
    kind: str = ""
    folder: str = ""
    frame_delta: int | None = None
    flame_version: str = ""

    @property
    def imported(self) -> bool:
        """Whether another tool's track takes the place of a video."""
        return bool(self.kind)

    @property
    def builtin(self) -> bool:
        """Whether the workflow renders the video."""
        return not self.imported and self.video == BUILTIN_VIDEO

    @property
    def brings(self) -> frozenset[str]:
        """Which of the formats' `ALPHA` and `PARSING` the import's folder has; reads the folder."""
        return FORMATS[self.kind].brings(Path(self.folder)) if self.imported else frozenset()


class Subjects(NamedRows[Subject]):
    """Subject name -> `Subject`.

    Raises:
        UserError: a name that is not in the table, or that is refused, was looked up.
    """

    def __missing__(self, name: str) -> Subject:
        if name in self.refused:
            raise UserError(self.refused[name])
        known = ", ".join(list(self)[:_SHOWN]) + (", ..." if len(self) > _SHOWN else "")
        raise UserError(
            f"{self.table} lists no subject '{shown(name)}' but {known}; add a line for it"
        )


def read_subjects(table: Path, presets: Mapping[str, Any]) -> Subjects:
    """Read the tab-separated table of subjects.

    A row that cannot be used is set aside (`Subjects.refused`), and the others are not.

    Args:
        table: file with the header `subject video head preset` (tab-separated) and perhaps some
            of `OPTIONAL_COLUMNS`. `import` is `<kind>:<folder>` of another tool's track; `video`
            is then empty, '-' or, for some kinds, a folder of images. Lines that start with '#'
            are comments.
        presets: the presets of the configuration; an empty cell means 'standard'.

    Raises:
        UserError: the table as a whole cannot be used.
    """
    subjects = Subjects(table)
    make = partial(_subject, presets=presets)
    for row in read_rows(table, COLUMNS, OPTIONAL_COLUMNS):
        subjects.add(row, "subject", make)
    if not subjects and not subjects.refused:
        raise UserError(f"{table}: lists no subject; add a line: name, video, head, preset")
    return subjects


def refuse_checkpoints(subjects: Subjects, presets: Mapping[str, Any]) -> None:
    """Refuse subjects whose FlashAvatar checkpoint does not fit the preset's model.

    Args:
        subjects: all rows.
        presets: name -> the whole configuration under that preset.
    """
    for subject in list(subjects.values()):
        if not subject.checkpoint:
            continue
        model = presets[subject.preset]["train"]["model"]
        if model not in CHECKPOINTS:
            subjects.refuse(
                subject.name,
                f"subject '{subject.name}': its checkpoint is FlashAvatar's, but train.model of "
                f"preset '{subject.preset}' is {model}; set it to {' or '.join(CHECKPOINTS)}",
            )


def _subject(table_row: Row, presets: Mapping[str, Any]) -> Subject:
    """A row as a subject; `UserError` for one that cannot be used."""
    cells, where = table_row.cells, table_row.where
    name, head, preset = cells["subject"], cells["head"] or "ict", cells["preset"] or "standard"
    if head not in HEADS:
        raise UserError(f"{where}: unknown head '{shown(head)}'; one of {', '.join(HEADS)}")
    if preset not in presets:
        known = ", ".join(presets)
        raise UserError(f"{where}: unknown preset '{shown(preset)}'; one of {known}")
    if cells["import"]:
        source = _import(cells, where)
    else:
        source = {"video": _video(cells, where), "intrinsics": _intrinsics(cells, where)}
    for column, what in _FILES.items():
        if cells[column] and (trouble := file_problem(cells[column])):
            raise UserError(f"{where}: the {what} '{shown(cells[column])}' of '{name}' {trouble}")
    if cells["checkpoint"] and cells["avatar"]:
        raise UserError(
            f"{where}: '{name}' has both a 'checkpoint' to train on and an 'avatar' to be drawn as "
            "it is; leave one cell empty"
        )
    files = {column: cells[column] for column in _FILES}
    return Subject(name=name, head=head, preset=preset, **files, **source)


def _video(cells: Mapping[str, str], where: str) -> str:
    for column in ("frame_delta", "flame_version"):
        if cells[column]:
            raise UserError(
                f"{where}: '{column}' is only for rows with an 'import'; leave it empty"
            )
    video = cells["video"]
    if video != BUILTIN_VIDEO and (trouble := file_problem(video)):
        raise UserError(f"{where}: the video '{shown(video)}' of '{cells['subject']}' {trouble}")
    return video


def _intrinsics(cells: Mapping[str, str], where: str) -> str:
    """Check that the numbers are positive; tracking checks whether they fit the clip."""
    text = cells["intrinsics"]
    if not text:
        return text
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    good = len(values) in (4, 6) and all(0 < value < math.inf for value in values)
    if not good:
        raise UserError(
            f"{where}: 'intrinsics' of '{cells['subject']}' is '{shown(text)}', expected "
            "fx,fy,cx,cy: positive numbers in pixels of the video (and, if you like, its width and "
            "height)"
        )
    return text


def _import(cells: Mapping[str, str], where: str) -> dict[str, Any]:
    """Attributes of a subject whose track comes from another tool."""
    name, _, folder = cells["import"].partition(":")
    name, folder = name.strip(), folder.strip()
    if name not in FORMATS:
        text, hint = shown(cells["import"]), FORMATS.hint(name)
        raise UserError(f"{where}: cannot import '{text}'; <kind>:<folder>, {hint}")
    kind = FORMATS[name]
    if trouble := folder_problem(folder):
        raise UserError(f"{where}: the folder '{shown(folder)}' to import {trouble}")
    for column in ("intrinsics", "identity"):
        if cells[column]:
            raise UserError(f"{where}: '{column}' comes with the import; leave it empty")
    images = "" if cells["video"] in NO_VIDEO else cells["video"]
    if images and not kind.own_images:
        raise UserError(f"{where}: {name} brings its own images; write '-' under 'video'")
    if images and (trouble := folder_problem(images)):
        raise UserError(
            f"{where}: with an import, 'video' is '-' or a folder of numbered images; "
            f"'{shown(images)}' {trouble}"
        )
    delta, version = cells["frame_delta"], cells["flame_version"]
    if delta and not re.fullmatch(r"-?\d{1,6}", delta):
        raise UserError(f"{where}: 'frame_delta' is '{shown(delta)}', expected a whole number")
    if delta and not kind.frame_delta:
        raise UserError(f"{where}: {name} names its images; leave 'frame_delta' empty")
    if version not in ("", "2020", "2023"):
        raise UserError(f"{where}: 'flame_version' is '{shown(version)}', expected 2020 or 2023")
    return {
        "kind": name, "folder": folder, "video": images, "flame_version": version,
        "frame_delta": int(delta) if delta else None,
    }  # fmt: skip
