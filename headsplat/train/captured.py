"""A function of device state, run again and again: recorded once as a CUDA graph, then replayed.

On a GPU a training step is some hundred kernels of a few microseconds; launched one by one they
wait for the host. Replaying a recorded graph launches them all at once. What a graph does is fixed:
shapes, addresses and every number the host chose. So the function may depend on the host only
through its `phase`; a new phase is recorded anew.
"""

from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext

import torch

from headsplat.runtime.cuda_graph import recorded

# Runs of a new phase before it is recorded: libraries choose their algorithms and make their
# workspaces in them, which a recording cannot hold. They are runs like any other.
EAGER_RUNS = 3


class CapturedFunction:
    """Calls `run(phase)`; on a CUDA device from the fourth call of a phase on as a graph.

    Args:
        run: enqueues work on the current stream, asks the device nothing, and reads and writes
            tensors that stay where they are.
        device: where it works; on a CPU every call is a plain call.
    """

    def __init__(self, run: Callable[[Hashable], None], device: torch.device) -> None:
        self._run = run
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._graph: torch.cuda.CUDAGraph | None = None
        self._phase: Hashable = None
        self._runs = 0

    def stream(self) -> AbstractContextManager:
        """The stream on which calls must be made, and everything that touches the same tensors."""
        return torch.cuda.stream(self._stream) if self._stream else nullcontext()

    @property
    def about_to_record(self) -> bool:
        """Whether the next call of the same phase records it: the time to set sizes for good."""
        return self._stream is not None and self._graph is None and self._runs == EAGER_RUNS

    @property
    def settled(self) -> bool:
        """Whether calls of the phase are as fast as they get."""
        return self._stream is None or self._graph is not None

    def forget(self) -> None:
        """Drop the recording, because something it holds has changed."""
        self._graph, self._runs = None, 0

    def __call__(self, phase: Hashable) -> None:
        """Do `run(phase)`."""
        if self._stream is None:
            self._run(phase)
            return
        if phase != self._phase:
            self.forget()
            self._phase = phase
        if self._graph is None and self._runs < EAGER_RUNS:
            self._runs += 1
            self._run(phase)
            return
        if self._graph is None:
            with recorded(self._stream) as graph:
                self._run(phase)
            self._graph = graph
        self._graph.replay()
