"""TensorFlow Lite networks on one CPU thread, run by LiteRT."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from headsplat.runtime.errors import UserError, one_line


class TfliteNetwork:
    """A network of one float32 input and some float32 outputs.

    Args:
        model: content of a `.tflite` file that is known, see `headsplat.networks.model_files`.

    Raises:
        UserError: LiteRT is not installed.
    """

    def __init__(self, model: bytes) -> None:
        with quiet_stderr():
            try:
                from ai_edge_litert.interpreter import Interpreter
            except ImportError as error:
                raise UserError(
                    "the package ai-edge-litert, which runs the face detector and the segmenters, "
                    f"does not load ({one_line(error)}); pip install ai-edge-litert"
                ) from error
            self._network = Interpreter(model_content=model, num_threads=1)
            self._network.allocate_tensors()
            (taken,) = self._network.get_input_details()
            self._input = taken["index"]
            self._outputs = [details["index"] for details in self._network.get_output_details()]
            self(np.zeros(taken["shape"], np.float32))  # the first run also prints

    def __call__(self, values: np.ndarray) -> list[np.ndarray]:
        """All outputs for one input, in the network's order."""
        self._network.set_tensor(self._input, values)
        self._network.invoke()
        return [self._network.get_tensor(index) for index in self._outputs]


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Discard what C++ libraries write to standard error while they start."""
    # They print to file descriptor 2 before their loggers can be configured. Errors are raised as
    # exceptions, so none is lost.
    sys.stderr.flush()
    saved = os.dup(2)
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(sink)
