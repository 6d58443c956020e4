"""Asynchronous GPU-to-host copies, so that the next batch can start before they are complete."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


class Download:
    """An asynchronous copy of a tensor to host memory.

    Args:
        tensor: (n, ...) on any device; must not be changed until the copy is complete.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._complete: torch.cuda.Event | None = None
        self._host = tensor
        if tensor.is_cuda:
            self._host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._host.copy_(tensor, non_blocking=True)
            self._complete = torch.cuda.Event()
            self._complete.record(torch.cuda.current_stream(tensor.device))

    def rows(self) -> list["Row"]:
        """A `Row` for each item of the first axis, in order."""
        return [Row(self, index) for index in range(len(self._host))]

    def wait(self) -> np.ndarray:
        """Wait for the copy and return it; thread-safe."""
        if self._complete is not None:
            self._complete.synchronize()
        return self._host.numpy()


@dataclass(frozen=True)
class Row:
    """One item of the first axis of a download."""

    source: Download
    index: int

    def array(self) -> np.ndarray:
        """Wait for the copy and return this row."""
        return self.source.wait()[self.index]
