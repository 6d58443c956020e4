"""Recording of CUDA graphs that garbage collection cannot break off."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def recorded(stream: torch.cuda.Stream | None = None) -> Iterator[torch.cuda.CUDAGraph]:
    """What is queued within becomes a graph; nothing of it runs before `replay`.

    Other threads may use the GPU meanwhile: only this one's calls are judged. Garbage is not
    collected: a graph, event or stream among it would call the driver in a way that a recording
    does not allow, and PyTorch ends the process where a destructor fails.

    Args:
        stream: where to record; PyTorch's own stream for recordings without one.

    Yields:
        the graph, to be replayed after the block.
    """
    graph = torch.cuda.CUDAGraph()
    collects = gc.isenabled()
    gc.disable()
    try:
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            yield graph
    finally:
        if collects:
            gc.enable()
