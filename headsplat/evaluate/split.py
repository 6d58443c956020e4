"""Split a clip's frames into training, held-out and guard frames.

Only usable frames are split. `last` holds out one block at the end, the usual protocol. `spread`
holds out five blocks over the clip. Guard frames around each block are unused, because frames 40 ms
from a training frame are nearly identical. Short clips use `spread`, because their end alone is not
representative.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from headsplat.frames.table import FrameRow
from headsplat.options import option
from headsplat.runtime.errors import UserError

HELD_OUT = 0.15
BLOCKS = 5
GUARD = 3  # guard frames on either side of a block of `spread`
LONG_CLIP = 60.0  # seconds; `auto` means `last` from here on
LEAST_TRAINING = 20
# Advice by the status of most unusable frames.
FIXES = {
    "no_face": "give a clip in which the face stays in sight",
    "another_person": "give a clip of one person",
    "clipped": "give a clip in which the whole face, forehead to chin, is inside the image",
    "undecodable": "give an undamaged video",
}


@dataclass(frozen=True)
class SplitOptions:
    """Section `split` of the configuration."""

    mode: str = option(
        "auto",
        "last: one block at the end; spread: five blocks over the clip; auto: last from 60 s on",
        choices=("auto", "last", "spread"),
    )


def split_frames(rows: Sequence[FrameRow], mode: str = "auto") -> dict[str, Any]:
    """Divide a clip's frames.

    Args:
        rows: all frames in order of time.
        mode: "last", "spread" or "auto".

    Returns:
        {"mode": the mode taken, "train", "test", "guard", "unusable": lists of ids}, a partition
        of all ids.

    Raises:
        UserError: too few usable frames are left to train on.
    """
    if mode == "auto":
        mode = "last" if rows and rows[-1].time - rows[0].time >= LONG_CLIP else "spread"
    usable = [row for row in rows if row.usable]
    count = len(usable)
    held = max(1, round(HELD_OUT * count))
    test: set[int] = set()
    guard: set[int] = set()
    if mode == "last":
        test = set(range(count - held, count))
    else:
        for block in range(BLOCKS):
            size = (block + 1) * held // BLOCKS - block * held // BLOCKS
            low = round((block + 0.5) * count / BLOCKS - size / 2)
            test |= set(range(low, low + size))
            guard |= set(range(low - GUARD, low)) | set(range(low + size, low + size + GUARD))
        guard -= test
    parts: dict[str, list[int]] = {"train": [], "test": [], "guard": [], "unusable": []}
    for position, row in enumerate(usable):
        part = "test" if position in test else "guard" if position in guard else "train"
        parts[part].append(row.id)
    parts["unusable"] = [row.id for row in rows if not row.usable]
    if len(parts["train"]) < LEAST_TRAINING or not parts["test"]:
        raise UserError(_too_few(rows, parts))
    return {"mode": mode, **parts}


def _too_few(rows: Sequence[FrameRow], parts: dict[str, list[int]]) -> str:
    """Error message: number of usable frames, status of the others, and advice."""
    lost = Counter(row.status for row in rows if not row.usable)
    said = ", ".join(f"{count} {status}" for status, count in lost.most_common())
    fix = "record a longer clip"
    if len(parts["unusable"]) > len(rows) / 2:
        fix = FIXES.get(lost.most_common(1)[0][0], fix)
    return (
        f"frames: only {len(parts['train'])} of {len(rows)} frames are left to train on and "
        f"{len(parts['test'])} to test, at least {LEAST_TRAINING} and 1 are needed; "
        f"{'not usable: ' + said if said else 'all are usable'}; {fix}"
    )
