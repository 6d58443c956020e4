"""The table of a clip's frames, `frames.tsv`: id, time, status, confidence, faces, crc32."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from headsplat.runtime.checksum import KEY, ChecksumError
from headsplat.runtime.errors import one_line
from headsplat.runtime.files import publish
from headsplat.runtime.regular import read_regular
from headsplat.runtime.storage import unreadable

COLUMNS = ("id", "time", "status", "confidence", "faces")
_LARGEST = 256 << 20  # bytes; a day at 25 frames a second has 90 MB
USABLE = ("ok", "several_faces", "blurred")


@dataclass(frozen=True)
class FrameRow:
    """One frame: 1-based id, seconds, status, confidence in [0, 1], number of faces seen."""

    id: int
    time: float
    status: str
    confidence: float
    faces: int

    @property
    def usable(self) -> bool:
        """Whether training and metrics may use the frame."""
        return self.status in USABLE


def write_frames(path: Path, rows: Iterable[FrameRow]) -> None:
    """Publish the table; each row ends in the checksum of their number and the table up to there.

    Without their number, a table that was cut off behind a row would be taken for a whole one.
    """
    rows = list(rows)
    text = "\t".join((*COLUMNS, KEY)) + "\n"
    total = _start(text, len(rows))
    lines = [text]
    for row in rows:
        cells = (row.id, f"{row.time:.2f}", row.status, f"{row.confidence:.4f}", row.faces)
        text = "\t".join(map(str, cells)) + "\t"
        total = crc32(text.encode(), total)
        lines.append(f"{text}{total:08x}\n")
    with publish(path) as temporary:
        temporary.write_text("".join(lines))


def read_frames(path: Path | str) -> list[FrameRow]:
    """Read the table, with checksums or without.

    Raises:
        UserError: it cannot be read, lacks a column, has a cell that is no number, or was changed
            after it was written.
    """
    try:
        header, *lines = _lines(read_regular(path, _LARGEST).decode())
        if not lines:
            raise ValueError("it has no rows")
        columns = tuple(header.split("\t"))
        if columns == (*COLUMNS, KEY):
            _check(header, lines)
        elif columns != COLUMNS:
            raise ValueError(f"its columns are not {', '.join(COLUMNS)}")
        return [_row(line.split("\t")[: len(COLUMNS)]) for line in lines]
    except (OSError, ValueError) as error:
        raise unreadable(error, path, f"not a table of frames ({one_line(error)})") from error


def _lines(text: str) -> list[str]:
    return text.replace("\r\n", "\n").removesuffix("\n").split("\n")


def _row(cells: list[str]) -> FrameRow:
    number, time, status, confidence, faces = cells
    return FrameRow(int(number), float(time), status, float(confidence), int(faces))


def _check(header: str, lines: list[str]) -> None:
    total = _start(f"{header}\n", len(lines))
    for number, line in enumerate(lines, 2):
        text, _, found = line.rpartition("\t")
        total = crc32(f"{text}\t".encode(), total)
        if found != f"{total:08x}":
            raise ChecksumError(
                f"line {number} was changed after it was written, or a row is missing"
            )


def _start(header: str, rows: int) -> int:
    return crc32(f"{header}{rows} rows\n".encode())
