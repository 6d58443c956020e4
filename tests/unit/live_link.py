"""Sample tables in the format of Live Link Face."""

import csv
from pathlib import Path

from headsplat.formats.arkit.names import BLENDSHAPES, ROTATIONS


def write_table(path: Path, rows: list[dict], fps: int = 60, start: float = 0.0, **more) -> Path:
    """One row per dictionary of coefficients (others are 0); `more` fills columns of all rows."""
    names = ["Timecode", "BlendShapeCount", *BLENDSHAPES, *ROTATIONS]
    with open(path, "w", newline="") as handle:
        writer = csv.DictWriter(handle, names, restval="0.0")
        writer.writeheader()
        for k, row in enumerate(rows):
            seconds, frame = divmod(round(start * fps) + k, fps)
            code = (
                f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{frame:02d}.000"
            )
            writer.writerow({"Timecode": code, "BlendShapeCount": 61} | more | row)
    return path
