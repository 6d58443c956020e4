"""Functions recorded as CUDA graphs, so that hundreds of kernel launches become one.

Kernels of a few microseconds, launched one by one, wait for the host; the replay of a graph
launches them all at once. A graph fixes shapes, addresses and every number that the host chose.
"""

import gc
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

# Calls with new constants before they are recorded: libraries choose their algorithms and allocate
# their workspaces in them, which is not possible within a recording.
EAGER_RUNS = 3


@contextmanager
def recorded(stream: torch.cuda.Stream | None = None) -> Iterator[torch.cuda.CUDAGraph]:
    """Record what the block enqueues as a graph; nothing of it runs before `replay`.

    Other threads may use the GPU meanwhile: only this thread's calls are checked. Garbage
    collection is off, because destroying a graph, event or stream makes a driver call that a
    recording forbids. PyTorch ends the process if a destructor fails.

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


class CudaGraph:
    """A function of tensors at fixed addresses that is recorded once and replayed.

    A function whose every run counts is simply called: the first calls run it eagerly, later ones
    replay it. One that may run without consequences is recorded at once, by `warm_up` and
    `record`, and then given new values by `load` and run by `replay`.

    Args:
        function: called with `inputs`, then with constants of the host. It enqueues work on the
            current stream, reads no value back from the GPU, and uses only tensors that stay.
        device: where it computes; on a CPU every call is a plain call.
        inputs: tensors on the device whose addresses stay.
        own_stream: record on a stream of this object's own; calls are made within `stream()`.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        device: torch.device,
        inputs: Sequence[Tensor] = (),
        own_stream: bool = False,
    ) -> None:
        self._function, self._device, self._inputs = function, device, tuple(inputs)
        self._cuda = device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if self._cuda and own_stream else None
        self._side: torch.cuda.Stream | None = None
        self._graph: torch.cuda.CUDAGraph | None = None
        self._outputs: Any = None
        self._constants: tuple[Hashable, ...] = ()
        self._runs = 0

    def stream(self) -> AbstractContextManager:
        """The stream for calls and for all else that touches the same tensors."""
        return torch.cuda.stream(self._stream) if self._stream else nullcontext()

    @property
    def is_recorded(self) -> bool:
        """Whether there is a graph to replay."""
        return self._graph is not None

    @property
    def about_to_record(self) -> bool:
        """Whether the next call with the same constants records: the last time to set sizes."""
        return self._cuda and self._graph is None and self._runs == EAGER_RUNS

    @property
    def settled(self) -> bool:
        """Whether calls with the same constants have reached their final speed."""
        return not self._cuda or self._graph is not None

    def forget(self) -> None:
        """Drop the recording and its outputs, because something that it fixes has changed."""
        self._graph = self._outputs = None
        self._runs = 0

    def warm_up(self, runs: int = 2) -> None:
        """Run the function on a side stream, where libraries make their handles and workspaces."""
        with torch.cuda.device(self._device):
            self._side = self._side or torch.cuda.Stream()
            self._side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._side):
                for _ in range(runs):
                    self._function(*self._inputs)
            torch.cuda.current_stream().wait_stream(self._side)

    def record(self, *constants: Hashable) -> None:
        """Record the function; the last recording is dropped first."""
        self._graph = self._outputs = None
        with torch.cuda.device(self._device), recorded(self._stream) as graph:
            self._outputs = self._function(*self._inputs, *constants)
        self._graph = graph

    def load(self, *values: Tensor) -> None:
        """Copy values from anywhere into the inputs; they are broadcast to the inputs' shapes."""
        for kept, given in zip(self._inputs, values, strict=True):
            kept.copy_(given)

    def replay(self) -> Any:
        """Run the recording; returns the outputs, which the next replay overwrites."""
        self._graph.replay()
        return self._outputs

    def __call__(self, *constants: Hashable) -> Any:
        """Run the function once, from the call after `EAGER_RUNS` on by a replay."""
        if not self._cuda:
            return self._function(*self._inputs, *constants)
        if constants != self._constants:
            self.forget()
            self._constants = constants
        if self._graph is None and self._runs < EAGER_RUNS:
            self._runs += 1
            return self._function(*self._inputs, *constants)
        if self._graph is None:
            self.record(*constants)
        return self.replay()
