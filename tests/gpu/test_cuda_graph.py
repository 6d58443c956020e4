"""Graphs are recorded whatever becomes garbage meanwhile."""

import gc
import weakref

import pytest
import torch

from headsplat.runtime.cuda_graph import recorded

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


class Holder:
    """An object that only garbage collection frees, with a graph."""

    def __init__(self, graph: torch.cuda.CUDAGraph) -> None:
        self.graph, self.itself = graph, self


def test_a_graph_among_the_garbage_does_not_break_a_recording():
    value = torch.ones(4, device="cuda")
    with recorded() as first:
        value.add_(1)
    holder = Holder(first)
    freed = weakref.ref(holder)
    del first, holder
    with recorded() as second:
        value.mul_(3)
        many = [[] for _ in range(200_000)]  # enough for a collection of all generations
        assert freed() is not None
    assert gc.isenabled()
    del many
    gc.collect()
    assert freed() is None
    second.replay()
    assert value.tolist() == [3] * 4
