"""Recording of a computation on a GPU as a CUDA graph: hundreds of launches become one."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from headsplat.runtime.cuda_graph import recorded


class Captured:
    """A function of tensors of fixed shapes, recorded once and replayed.

    Args:
        function: tensors -> tensors; it must not wait for the GPU or read values from it.
        examples: inputs, of the shapes and on the GPU of all later ones.
    """

    def __init__(
        self, function: Callable[..., Sequence[Tensor]], examples: Sequence[Tensor]
    ) -> None:
        self._inputs = [example.clone() for example in examples]
        with torch.cuda.device(self._inputs[0].device):
            # Libraries choose their kernels and workspaces in a first run, off the main stream.
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(2):
                    function(*self._inputs)
            torch.cuda.current_stream().wait_stream(side)
            with recorded() as self._graph:
                self._outputs = function(*self._inputs)

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """The function on `inputs`, which may lie elsewhere and are broadcast to their shapes."""
        for kept, given in zip(self._inputs, inputs, strict=True):
            kept.copy_(given)
        self._graph.replay()
        return [output.clone() for output in self._outputs]
