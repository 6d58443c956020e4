"""Reader of Live Link Face's CSV: `Timecode`, `BlendShapeCount`, 52 coefficients, 9 angles."""

import csv
import difflib
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headsplat.formats.arkit.names import BLENDSHAPES, ROTATIONS
from headsplat.runtime.errors import UserError, shown
from headsplat.runtime.tables import read_text

_TIME, _COUNT = "Timecode", "BlendShapeCount"
# Optional columns: some trackers have no tongue, and of the angles only the head's are used.
_MAY_LACK = ("TongueOut", *ROTATIONS, _COUNT)
_TIMECODE = re.compile(
    r"([01]?[0-9]|2[0-3]):([0-5]?[0-9]):([0-5]?[0-9])[:;]([0-9]{1,3}(?:\.[0-9]{1,9})?)"
)
_RATES = (24, 25, 30, 50, 60)
_DAY = 24 * 3600
# Coefficients are in 0..1; calibrated tools may overshoot slightly, percentages are rejected.
_HIGHEST = 2.0
# Size limit in bytes (two hours at 60 fps), and longest gap between rows in seconds.
_LARGEST, _GAP = 256 << 20, 60


@dataclass(frozen=True)
class LiveLinkTable:
    """The rows of a table that show a face.

    Attributes:
        times: (N,) seconds from the table's first row, increasing.
        values: column -> (N,) float64; names as in `headsplat.formats.arkit.names`.
    """

    times: np.ndarray
    values: dict[str, np.ndarray]


def read_live_link(path: Path) -> LiveLinkTable:
    """Read and check the table; column names may have any case and order.

    Rows without a face have a `BlendShapeCount` of 0 and are skipped.

    Raises:
        UserError: the file is unreadable or empty, a column is missing, unknown or duplicate, or a
            cell is invalid; the message names line and column.
    """
    text = read_text(path, _LARGEST)
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise UserError(f"{path}: cannot be read as a table (it is not UTF-8); export it again")
    separator = max(",;\t", key=text[: text.find("\n")].count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        header = _header(next(rows, []), path)
        table = _rows(rows, header, path)
    except csv.Error as error:
        raise UserError(
            f"{path}: cannot be read as a table ({error} in line {rows.line_num}); export it again"
        ) from error
    return _checked(*table, header, path)


def _rows(
    rows: Any, header: list[str], path: Path
) -> tuple[list[tuple[int, tuple[int, float]]], list[int], list[np.ndarray]]:
    """Line and time code of each row, indices of rows with a face, and their values."""
    codes, seen, numbers = [], [], []
    for row in rows:
        if not any(row):
            continue
        where = f"{path} line {rows.line_num}"
        cells = dict(zip(header, row, strict=False))
        codes.append((rows.line_num, _timecode(cells.get(_TIME, ""), where)))
        if cells.get(_COUNT, "").strip() == "0":
            continue
        if len(row) < len(header) or any(row[len(header) :]):
            raise UserError(
                f"{where}: {len(row)} cells under {len(header)} columns; export it again"
            )
        seen.append(len(codes) - 1)
        values = [_number(cells[name], f"{where}: '{name}'") for name in _values(header)]
        numbers.append(np.array(values))
    return codes, seen, numbers


def _checked(
    codes: list[tuple[int, tuple[int, float]]], seen: list[int], numbers: list[np.ndarray],
    header: list[str], path: Path,
) -> LiveLinkTable:  # fmt: skip
    if not numbers:
        raise UserError(f"{path}: no row shows a face; export it again")
    lines, times = zip(*codes, strict=True)
    times = _times(np.array(times), lines, path)[seen]
    # Of rows with equal time codes the first is kept.
    later = np.concatenate([[True], np.diff(times) > 0])
    values = np.array(numbers)[later]
    check_range(values, _values(header), path)
    return LiveLinkTable(times[later], dict(zip(_values(header), values.T, strict=True)))


def _values(header: list[str]) -> list[str]:
    return [name for name in header if name not in (_TIME, _COUNT)]


def _header(cells: list[str], path: Path) -> list[str]:
    known = {name.lower(): name for name in (_TIME, _COUNT, *BLENDSHAPES, *ROTATIONS)}
    header = []
    cells = list(cells)
    while cells and not cells[-1].strip():
        cells.pop()
    if not cells:
        raise UserError(f"{path}: is empty; export it again")
    for cell in cells:
        name = cell.strip()
        if name.lower() not in known:
            close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
            hint = f"did it mean '{known[close[0]]}'?" if close else "remove it"
            raise UserError(f"{path}: unknown column '{shown(name)}'; {hint}")
        header.append(known[name.lower()])
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise UserError(f"{path}: the column '{twice[0]}' occurs twice; remove one")
    missing = [n for n in known.values() if n not in header and n not in _MAY_LACK]
    if missing:
        raise UserError(
            f"{path}: the column '{missing[0]}' is missing; export it with all 52 blendshapes"
        )
    return header


def _timecode(text: str, where: str) -> tuple[int, float]:
    """Whole seconds of the day, and frames (with their fraction) after them."""
    match = _TIMECODE.fullmatch(text.strip())
    if match is None:
        raise UserError(
            f"{where}: '{_TIME}' is '{shown(text)}', expected hours:minutes:seconds:frames of "
            "the day; export it again"
        )
    hours, minutes, seconds = (int(match[k]) for k in (1, 2, 3))
    return hours * 3600 + minutes * 60 + seconds, float(match[4])


def _number(text: str, where: str) -> float:
    try:
        value = float(text.replace(",", "."))  # decimal comma of some locales
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{where} is '{shown(text)}', expected a number; export it again")
    return value


def _times(codes: np.ndarray, lines: Sequence[int], path: Path) -> np.ndarray:
    """(N, 2) seconds and frames -> (N,) seconds from the first row.

    The table has no frame rate; it follows from the highest frame number, once a second has passed.
    """
    seconds, frames = codes.T
    rate = next((rate for rate in _RATES if frames.max() < rate), None)
    if rate is None or (len(codes) > 1 and (frames.max() < 1 or seconds[0] == seconds[-1])):
        raise UserError(
            f"{path}: frames of '{_TIME}' go up to {frames.max():g}, which does not tell how many "
            "make a second; give a recording of more than a second with 24 to 60 frames in each"
        )
    times = seconds + frames / rate
    times = times + _DAY * np.concatenate([[0], np.cumsum(np.diff(times) < -_DAY / 2)])
    steps = np.diff(times)
    if (steps < 0).any():
        line = lines[int((steps < 0).argmax())]
        raise UserError(f"{path}: '{_TIME}' goes back in row {line}; export it again")
    if (steps > _GAP).any():
        row = int((steps > _GAP).argmax())
        raise UserError(
            f"{path} line {lines[row + 1]}: {steps[row]:.0f} s after the row before it, more than "
            f"{_GAP}; export each recording by itself"
        )
    return times - times[0]


def check_range(values: np.ndarray, names: list[str], path: Path) -> None:
    """Raise `UserError` for values (N, C) of named columns that are not of ARKit's units."""
    for name, column in zip(names, values.T, strict=True):
        highest = np.abs(column).max()
        limit = math.pi if name in ROTATIONS else _HIGHEST
        if highest > limit:
            what = "angles in radians" if name in ROTATIONS else "coefficients from 0 to 1"
            raise UserError(
                f"{path}: '{name}' reaches {highest:g}, expected {what}; export it in those"
            )
