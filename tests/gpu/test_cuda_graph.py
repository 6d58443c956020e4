"""CUDA graph capture is independent of garbage collection."""

import gc
import weakref

import pytest
import torch

from headsplat.runtime.cuda_graph import EAGER_RUNS, CudaGraph, recorded

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


class Holder:
    """An object with a graph that only the cyclic garbage collector frees."""

    def __init__(self, graph: torch.cuda.CUDAGraph) -> None:
        self.graph, self.itself = graph, self


def test_garbage_collected_graph_does_not_break_a_recording():
    value = torch.ones(4, device="cuda")
    with recorded() as first:
        value.add_(1)
    holder = Holder(first)
    freed = weakref.ref(holder)
    del first, holder
    with recorded() as second:
        value.mul_(3)
        many = [[] for _ in range(200_000)]  # enough to trigger a collection of all generations
        assert freed() is not None
    assert gc.isenabled()
    del many
    gc.collect()
    assert freed() is None
    second.replay()
    assert value.tolist() == [3] * 4


def test_each_call_runs_once_eager_or_replayed():
    value = torch.zeros(4, device="cuda")
    graph = CudaGraph(lambda step: value.add_(step), value.device, own_stream=True)
    with graph.stream():
        for _ in range(EAGER_RUNS):
            assert not graph.settled
            graph(1)
        assert graph.about_to_record
        for _ in range(5):
            graph(1)
            assert graph.settled
        assert value.tolist() == [EAGER_RUNS + 5] * 4
        # Another host constant starts another recording.
        graph(10)
        assert not graph.settled
        assert value.tolist() == [EAGER_RUNS + 15] * 4


def test_replay_uses_loaded_inputs():
    inputs = [torch.ones(3, device="cuda"), torch.ones(3, 1, device="cuda")]
    graph = CudaGraph(lambda a, b: (a * b, a + b), inputs[0].device, inputs)
    graph.warm_up()
    graph.record()
    for factor in (2.0, 5.0):
        graph.load(torch.full((3,), factor), torch.tensor([[1.0], [2.0], [3.0]]))
        product, total = graph.replay()
        assert product[:, 0].tolist() == [factor, 2 * factor, 3 * factor]
        assert total[2].tolist() == [factor + 3] * 3
    graph.forget()
    assert not graph.is_recorded
