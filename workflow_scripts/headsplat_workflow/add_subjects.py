"""Rows of the table of subjects for the videos of a folder."""

import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from headsplat_workflow.named_rows import is_name
from headsplat_workflow.subjects import COLUMNS, Subjects
from headsplat_workflow.user_files import file_problem, folder_problem

from headsplat.runtime.errors import UserError, shown
from headsplat.runtime.files import publish
from headsplat.runtime.tables import LARGEST, LONGEST_CELL

SUFFIXES = (
    ".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg",
    ".mts", ".ogv", ".ts", ".webm", ".wmv",
)  # fmt: skip
# Videos of one folder, and characters of a name without what makes it unique.
MOST_VIDEOS, LONGEST_STEM = 10_000, 80
_SUFFIX = re.compile(r"[A-Za-z0-9_-]{0,16}")


def add_videos(
    subjects: Subjects, folder: str, suffix: str, head: str, preset: str
) -> Iterator[str]:
    """Append a row for each video of a folder that the table does not list yet.

    Names of subjects are those of the files, with `_` for what a name cannot hold. Rows that are
    there stay as they are.

    Args:
        subjects: the present rows, and the table they come from.
        folder: folder of the videos; folders in it are not searched.
        suffix: ends every new name after `_`, so that names of several folders differ; "" for none.
        head: head model of the new rows.
        preset: their preset.

    Yields:
        Lines for the user: what was added, and what was left out and why.

    Raises:
        UserError: the folder, the suffix or the table cannot be used.
    """
    if not _SUFFIX.fullmatch(suffix):
        raise UserError(
            f"suffix '{shown(suffix)}': use at most 16 letters, digits, '_' and '-', such as night"
        )
    if trouble := folder_problem(folder):
        raise UserError(f"videos: the folder '{shown(folder)}' {trouble}")
    table = subjects.table
    text, header = _read(table)
    listed = {os.path.realpath(subject.video) for subject in subjects.values() if subject.video}
    taken = {*subjects, *subjects.refused}
    files, others = _videos(folder)
    rows = []
    for file in files:
        if trouble := _trouble(file):
            yield f"left out: {shown(file)} {trouble}"
        elif os.path.realpath(file) in listed:
            yield f"there already: {shown(file)}"
        else:
            name = _name(Path(file).stem, suffix, taken)
            taken.add(name)
            cells = {"subject": name, "video": file, "head": head, "preset": preset}
            rows.append("\t".join(cells.get(column, "") for column in header))
            yield f"added: {name}, {shown(file)}"
    if others:
        yield f"left out: files whose names do not end like those of videos, {others} of them"
    if not files:
        raise UserError(
            f"{folder}: there is no video in it; names must end in {' '.join(SUFFIXES)}"
        )
    if rows:
        end = "" if text.endswith("\n") or not text else "\n"
        with publish(table) as temporary:
            whole = text + end + "\n".join(rows) + "\n"
            temporary.write_bytes(whole.encode("utf-8", "surrogateescape"))
    yield f"{table}: {len(rows)} rows added, head {head}, preset {preset}"


def _read(table: Path) -> tuple[str, list[str]]:
    """The table's text, and the names of its columns."""
    data = table.read_bytes()
    if len(data) > LARGEST or b"\0" in data[:4]:
        raise UserError(f"{table}: cannot be added to; save it as UTF-8, tab-separated")
    text = data.decode("utf-8", "surrogateescape")
    lines = text.removeprefix("\ufeff").splitlines()
    first = next((line for line in lines if line.strip() and not line.startswith("#")), "")
    header = [cell.strip().strip('"') for cell in first.split("\t")]
    if not set(COLUMNS) <= set(header):
        raise UserError(f"{table}: its first line must name the columns {', '.join(COLUMNS)}")
    return text, header


def _videos(folder: str) -> tuple[list[str], int]:
    """Files that are named like videos, sorted, and the number of other files."""
    inside = os.path.relpath(folder)
    root = os.path.abspath(folder) if inside.startswith("..") else inside
    names = sorted(entry.name for entry in os.scandir(folder) if not entry.is_dir())
    files = [os.path.join(root, name) for name in names if name.lower().endswith(SUFFIXES)]
    if len(files) > MOST_VIDEOS:
        raise UserError(f"{shown(folder)}: has {len(files)} videos; at most {MOST_VIDEOS}")
    return files, len(names) - len(files)


def _trouble(file: str) -> str | None:
    """Why a video gets no row, as words that follow its name; None if it gets one."""
    if not file.isprintable():
        return "has a name with control characters, or one that is not UTF-8; rename it"
    if file.startswith(('"', "#")) or file != file.strip() or len(file) > LONGEST_CELL:
        return "has a name that a table cannot hold; rename it"
    if trouble := file_problem(file):
        return trouble
    return None if os.path.getsize(file) else "is empty"


def _name(stem: str, suffix: str, taken: Collection[str]) -> str:
    """A name for a subject that nobody has yet."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", stem).strip("_-")[:LONGEST_STEM].rstrip("_-")
    end = f"_{suffix}" if suffix else ""
    base = plain if is_name(plain + end) else "video"
    numbers = iter(range(2, 10**6))
    name = base + end
    while name in taken or not is_name(name):
        name = f"{base}_{next(numbers)}{end}"
    return name
