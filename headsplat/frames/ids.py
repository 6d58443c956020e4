"""Frame ids: parsing from file names, and the range of ids of each chunk.

Names pad ids to five digits; ids above 99,999 (66 minutes) have more.
"""

import re

LARGEST = 2**31 - 2  # files store ids as int32; id = frame number from 0 plus one
_DIGITS = re.compile(r"[0-9]{1,20}")


def frame_number(text: str) -> int | None:
    """Parse a frame number, zero-padded or not; None if invalid or larger than `LARGEST`."""
    if _DIGITS.fullmatch(text) is None:
        return None
    number = int(text)
    return number if number <= LARGEST else None


def chunk_bounds(n_frames: int, n_chunks: int, chunk: int) -> tuple[int, int]:
    """First id and last id + 1 of a chunk; ids count from 1, chunks from 0; equal if empty.

    The range follows from the numbers alone, so the workflow's DAG is static.
    """
    low = chunk * n_frames // n_chunks
    high = (chunk + 1) * n_frames // n_chunks
    return low + 1, high + 1
