"""Static chunks: frame k of N lies in chunk c of C by arithmetic alone, so the DAG is fixed."""

import math

# Seconds of a clip in a chunk: work enough to be worth the start of a process.
SECONDS = 4
# As many at least as a laptop has cores; as many as larger machines have, where the clip is long
# enough; and none longer than a minute, because a crash costs at most one chunk per running job.
FEWEST, USUAL, LONGEST, MOST = 4, 16, 60, 999


def chunks_of(seconds: float) -> int:
    """Number of chunks of a clip that lasts so long."""
    usual = min(max(round(seconds / SECONDS), FEWEST), USUAL)
    return min(max(usual, math.ceil(seconds / LONGEST)), MOST)


def chunk_bounds(n_frames: int, n_chunks: int, chunk: int) -> tuple[int, int]:
    """First id and last id + 1 (ids are 1-based) of `chunk`; equal when the chunk is empty."""
    low = chunk * n_frames // n_chunks
    high = (chunk + 1) * n_frames // n_chunks
    return low + 1, high + 1
