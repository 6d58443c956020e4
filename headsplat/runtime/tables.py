"""Reader of tab-separated tables, written by hand or saved from a spreadsheet.

An error in the header or encoding raises `UserError`. An error in one row is stored in that row, so
that the other rows can be used.
"""

import codecs
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from headsplat.runtime.errors import UserError, shown
from headsplat.runtime.regular import open_regular

# Bytes of a table, and characters of a cell (the longest path on Linux).
LARGEST, LONGEST_CELL = 8 << 20, 4096
_LINE_END = re.compile(r"\r\n|\r|\n")
_QUOTED = re.compile(r'"((?:[^"]|"")*)" *(?=\t|\r|\n|\Z)')
_PLAIN = re.compile(r"[^\t\r\n]*")
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        table: file of the table.
        line: number of the row's first line, from 1.
        cells: column -> stripped text; "" for a missing cell.
        problem: why the row is unusable, or None.
    """

    table: Path
    line: int
    cells: dict[str, str]
    problem: str | None = None

    @property
    def where(self) -> str:
        """File and line, for messages."""
        return f"{self.table} line {self.line}"


def read_rows(table: Path, columns: Sequence[str], optional: Sequence[str]) -> Iterator[Row]:
    """The rows of a table.

    The first line names the columns. Lines that start with '#' are comments. Missing cells at the
    end of a line are empty, and columns without name and cells are ignored. A cell in quotation
    marks may contain tabs, line breaks, and doubled quotation marks.

    Args:
        table: UTF-8 or UTF-16 file, with or without a byte-order mark; LF, CRLF or CR line ends.
        columns: names of the required columns.
        optional: names of the optional columns; their cells are "" where they are absent.

    Raises:
        UserError: the file cannot be read; or a column is missing, unknown or duplicated.
    """
    lines = _cells(read_text(table, LARGEST))
    _, header, problem = next(lines, (1, [], None))
    _check_separator(table, header, columns)
    if problem:
        raise UserError(f"{table}: the header line has {problem}")
    names = _header(table, header, columns, optional)
    for number, cells, problem in lines:
        values = dict.fromkeys((*columns, *optional), "")
        values |= dict(zip(names, cells, strict=False))
        if problem is None and any(cells[len(names) :]):
            problem = f"{len(cells)} cells under {len(names)} columns"
        yield Row(table, number, values, problem or _unusable(values))


def read_text(table: Path, largest: int) -> str:
    """The text of a table; invalid UTF-8 bytes become lone surrogates, as in file names.

    Args:
        table: UTF-8 or UTF-16 file, with or without a byte-order mark.
        largest: maximum size in bytes.

    Raises:
        UserError: it cannot be read, is not a regular file, or is larger.
    """
    try:
        with open_regular(table) as handle:
            data = handle.read(largest + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in its name
        missing = isinstance(error, FileNotFoundError)
        fix = "create it" if missing else "save the table there as a text file"
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{table}: cannot be read ({reason}); {fix}") from error
    if len(data) > largest:
        raise UserError(f"{table}: has more than {largest >> 20} MiB; split it into several tables")
    try:
        if data.startswith(_UTF16):
            return data.decode("utf-16")
        return data.removeprefix(codecs.BOM_UTF8).decode(errors="surrogateescape")
    except UnicodeDecodeError as error:
        raise UserError(f"{table}: cannot be read ({error}); save it as UTF-8 text") from error


def _cells(text: str) -> Iterator[tuple[int, list[str], str | None]]:
    """(line number, cells, problem with quotation marks or None) of each line but comments."""
    place, line = 0, 1
    while place < len(text):
        cells, end, problem = _line(text, place)
        if any(cells) and not cells[0].startswith("#"):
            yield line, cells, problem
        line_end = _LINE_END.match(text, end)
        line += len(_LINE_END.findall(text, place, end)) + 1
        place = line_end.end() if line_end else len(text)


def _line(text: str, place: int) -> tuple[list[str], int, str | None]:
    """The cells from offset `place` on, the offset of the line's end, and a problem or None."""
    cells, problem = [], None
    comment = text[place] == "#"
    while True:
        quoted = None
        if not comment and problem is None and text.startswith('"', place):
            quoted = _quoted(text, place)
            problem = None if quoted else "a cell with an opening '\"' alone; remove it"
        if quoted:
            cell, place = quoted[1].replace('""', '"'), quoted.end()
        else:
            plain = _PLAIN.match(text, place)
            cell, place = plain[0], plain.end()
        cells.append(cell.strip())
        if not text.startswith("\t", place):
            return cells, place, problem
        place += 1


def _quoted(text: str, place: int) -> re.Match[str] | None:
    """The quoted cell at offset `place`; an unclosed quotation mark must not include other rows."""
    found = _QUOTED.match(text, place, place + 2 * LONGEST_CELL)
    rows = found is not None and "\t" in found[1] and _LINE_END.search(found[1])
    return None if rows else found


def _header(
    table: Path, cells: list[str], columns: Sequence[str], optional: Sequence[str]
) -> list[str]:
    """The checked names of the columns."""
    names = list(cells)
    while names and not names[-1]:
        names.pop()
    if any("\0" in name for name in names):
        raise UserError(f"{table}: cannot be read (it holds NUL characters); save it as UTF-8 text")
    for column in columns:
        if column not in names:
            raise UserError(f"{table}: the column '{column}' is missing from the header line")
    known = (*columns, *optional)
    for number, column in enumerate(names, 1):
        if column not in known:
            raise UserError(f"{table}: unknown column '{shown(column)}'; known: {', '.join(known)}")
        if column in names[: number - 1]:
            raise UserError(f"{table}: the column '{column}' is there twice; remove one")
    return names


def _check_separator(table: Path, names: list[str], columns: Sequence[str]) -> None:
    """Raise `UserError` if the header is one cell that contains other separators than tabs."""
    if len(names) != 1:
        return
    for separator, what in ((";", "semicolons"), (",", "commas"), ("|", "bars"), (None, "spaces")):
        parts = [part.strip(' "') for part in names[0][:LONGEST_CELL].split(separator)]
        if len(parts) > 1 and set(parts) & set(columns):
            raise UserError(
                f"{table}: its cells are separated by {what}; save it with tabs between them"
            )


def _unusable(cells: dict[str, str]) -> str | None:
    """Why a cell is unusable (too long, NUL characters, not UTF-8), or None."""
    for column, cell in cells.items():
        if len(cell) > LONGEST_CELL:
            return f"{len(cell)} characters under '{column}', {LONGEST_CELL} are the most"
        if "\0" in cell:
            return f"a NUL character under '{column}'; save the table as text"
        if any("\ud800" <= letter <= "\udfff" for letter in cell):
            return (
                f"'{shown(cell)}' under '{column}', which is not UTF-8; rename the file and save "
                "the table as UTF-8 text"
            )
    return None
