"""The table of a clip's frames, `frames.tsv`: id, time, status, confidence, faces."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from headsplat.errors import UserError
from headsplat.files import publish

COLUMNS = ("id", "time", "status", "confidence", "faces")
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
    """Publish the table."""
    lines = ["\t".join(COLUMNS)]
    for row in rows:
        cells = (row.id, f"{row.time:.2f}", row.status, f"{row.confidence:.4f}", row.faces)
        lines.append("\t".join(map(str, cells)))
    with publish(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n")


def read_frames(path: Path | str) -> list[FrameRow]:
    """Read the table; a missing column or a cell that is no number is a `UserError`."""
    try:
        with open(path, newline="") as handle:
            return [
                FrameRow(
                    int(row["id"]),
                    float(row["time"]),
                    row["status"],
                    float(row["confidence"]),
                    int(row["faces"]),
                )
                for row in csv.DictReader(handle, delimiter="\t")
            ]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not a table of frames ({error!r}); remake it") from error
