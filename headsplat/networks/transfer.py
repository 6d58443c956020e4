"""Results on their way from a GPU, so that the next batch starts before they have arrived."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


class Download:
    """Starts copying a tensor to the processor and hands out its rows when they are there.

    Args:
        tensor: (n, ...) on any device; not to be written to until the rows were read.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._arrived: torch.cuda.Event | None = None
        self._here = tensor
        if tensor.is_cuda:
            self._here = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._here.copy_(tensor, non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record(torch.cuda.current_stream(tensor.device))

    def rows(self) -> list["Row"]:
        """One for each row, in order."""
        return [Row(self, index) for index in range(len(self._here))]

    def wait(self) -> np.ndarray:
        """All rows, once they have arrived; may be called from any thread."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._here.numpy()


@dataclass(frozen=True)
class Row:
    """One row of a download."""

    source: Download
    index: int

    def array(self) -> np.ndarray:
        """The row, once it has arrived."""
        return self.source.wait()[self.index]
