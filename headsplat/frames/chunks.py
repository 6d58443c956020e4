"""Static chunks: frame k of N lies in chunk c of C by arithmetic alone, so the DAG is fixed."""


def chunk_bounds(n_frames: int, n_chunks: int, chunk: int) -> tuple[int, int]:
    """First id and last id + 1 (ids are 1-based) of `chunk`; equal when the chunk is empty."""
    low = chunk * n_frames // n_chunks
    high = (chunk + 1) * n_frames // n_chunks
    return low + 1, high + 1
