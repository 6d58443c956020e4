"""Which frames train and which are held out.

`last` holds out one block at the end, the field's protocol. `spread` holds out five blocks over
the clip, each between guard frames that neither train nor test, because a frame 40 ms from a
training frame is no test. Short clips take `spread`: their end alone says little.
"""

from collections.abc import Sequence
from typing import Any

from headsplat.errors import UserError
from headsplat.frames_table import FrameRow

HELD_OUT = 0.15
BLOCKS = 5
GUARD = 3  # frames on either side of a block of `spread`
LONG_CLIP = 60.0  # seconds from which `auto` means `last`
LEAST_TRAINING = 20


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
    count = len(rows)
    if mode == "auto":
        mode = "last" if count and rows[-1].time - rows[0].time >= LONG_CLIP else "spread"
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
    for position, row in enumerate(rows):
        if not row.usable:
            part = "unusable"
        elif position in test:
            part = "test"
        else:
            part = "guard" if position in guard else "train"
        parts[part].append(row.id)
    if len(parts["train"]) < LEAST_TRAINING or not parts["test"]:
        raise UserError(
            f"frames: only {len(parts['train'])} of {count} frames are left to train on and "
            f"{len(parts['test'])} to test; record a longer clip in which the face stays in sight"
        )
    return {"mode": mode, **parts}
