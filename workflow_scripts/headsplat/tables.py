"""Tab-separated tables that a user writes: rows by line, with one line for what cannot be used."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from headsplat.errors import UserError


def read_rows(
    table: Path, columns: Sequence[str], optional: Sequence[str]
) -> Iterator[tuple[str, dict[str, str]]]:
    """Where each row stands ("<file> line <n>") and its cells by column, stripped.

    Args:
        table: file whose first line names its columns. Lines that start with '#' are comments, and
            cells missing at a line's end are empty.
        columns: which must be there.
        optional: which may be; their cells are empty where they are not.

    Raises:
        UserError: the file cannot be read, a column is missing or unknown, a line is too long.
    """
    try:
        lines = table.read_text().splitlines()
    except OSError as error:
        raise UserError(f"{table}: cannot be read ({error.strerror}); create it") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{table}: cannot be read ({error}); save it as text") from error
    numbered = [(n, line) for n, line in enumerate(lines, 1) if line.strip() and line[0] != "#"]
    reader = csv.reader((line for _, line in numbered), delimiter="\t")
    rows = list(zip((n for n, _ in numbered), reader, strict=True))
    header = [cell.strip() for cell in rows[0][1]] if rows else []
    for column in columns:
        if column not in header:
            raise UserError(f"{table}: the column '{column}' is missing from the header line")
    known = (*columns, *optional)
    for column in header:
        if column not in known:
            raise UserError(f"{table}: unknown column '{column}'; known: {', '.join(known)}")
    for number, cells in rows[1:]:
        where = f"{table} line {number}"
        if len(cells) > len(header):
            raise UserError(f"{where}: {len(cells)} cells under {len(header)} columns")
        cells = [cell.strip() for cell in cells] + [""] * (len(header) - len(cells))
        yield where, dict.fromkeys(optional, "") | dict(zip(header, cells, strict=True))
