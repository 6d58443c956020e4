"""The table of a clip's frames, `frames.tsv`: id, time, status, confidence, faces."""

import csv
from dataclasses import dataclass
from pathlib import Path

from headsplat.errors import UserError

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
