"""ONNX Runtime sessions: opening on GPU or CPU, and checks of input and output signatures."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from headsplat.runtime.errors import UserError, one_line
from headsplat.runtime.logs import log
from headsplat.runtime.process import available_threads

DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_GPU = "CUDAExecutionProvider"


def open_session(path: Path | str, gpu: int | None = 0) -> onnxruntime.InferenceSession:
    """Open a session on GPU number `gpu`, or on the CPU without the CUDA provider.

    Args:
        path: the ONNX file.
        gpu: GPU number; None for the CPU.

    Raises:
        UserError: the file is missing or not an ONNX model that ONNX Runtime can run.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: is not there; give the ONNX file")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = available_threads()
    options.log_severity_level = 3
    providers: list[str | tuple[str, dict[str, str]]] = ["CPUExecutionProvider"]
    if gpu is not None and _GPU in onnxruntime.get_available_providers():
        providers.insert(0, (_GPU, {"device_id": str(gpu)}))
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:
        # ONNX Runtime's exceptions have no public base class.
        raise UserError(
            f"{path}: ONNX Runtime cannot open it ({one_line(error)}); download it again"
        ) from error
    log.info("%s runs on %s", Path(path).name, session.get_providers()[0])
    return session


def on_gpu(session: onnxruntime.InferenceSession) -> bool:
    """Whether the session computes on a GPU."""
    return session.get_providers()[0] == _GPU


def check_signature(
    session: onnxruntime.InferenceSession,
    path: Path | str,
    inputs: Mapping[str, Sequence[int | None]],
    outputs: Mapping[str, Sequence[int | None]],
    float32: Sequence[str] = (),
) -> type[np.floating]:
    """Check names, shapes and types of a session's inputs and outputs.

    Args:
        session: the open session.
        path: path of the file, for messages.
        inputs: name -> expected shape, None for an axis of any length.
        outputs: name -> expected shape; further outputs are allowed.
        float32: inputs that are always float32.

    Returns:
        The common float type of all other inputs and of the outputs.

    Raises:
        UserError: other names, shapes or types.
    """
    have = {node.name: node for node in session.get_inputs()}
    if set(have) != set(inputs):
        raise UserError(
            f"{path}: inputs are named {', '.join(have)}, not {', '.join(inputs)}; "
            "give the official ONNX file"
        )
    made = {node.name: node for node in session.get_outputs()}
    for name in outputs:
        if name not in made:
            raise UserError(
                f"{path}: outputs are named {', '.join(made)} and lack '{name}'; "
                "give the official ONNX file"
            )
    nodes = [(have[n], s) for n, s in inputs.items()] + [(made[n], s) for n, s in outputs.items()]
    for node, shape in nodes:
        if not _fits(node.shape, shape):
            raise UserError(
                f"{path}: '{node.name}' has shape {list(node.shape)}, not "
                f"{['any' if n is None else n for n in shape]}; give the official ONNX file"
            )
    kinds = {node.type for node, _ in nodes if node.name not in float32}
    wrong = [n for n in float32 if have[n].type != "tensor(float)"]
    if wrong or len(kinds) != 1 or not kinds <= set(DTYPES):
        raise UserError(
            f"{path}: types are {', '.join(f'{n.name} {n.type}' for n, _ in nodes)}; "
            "one float type is needed; give the official ONNX file"
        )
    return DTYPES[kinds.pop()]


def run_session(
    session: onnxruntime.InferenceSession,
    path: Path | str,
    outputs: Sequence[str],
    inputs: Mapping[str, np.ndarray],
) -> list[np.ndarray]:
    """Run a session.

    Args:
        session: the open session.
        path: path of the file, for messages.
        outputs: names of outputs.
        inputs: name -> array.

    Raises:
        UserError: the graph fails, because it does not fit its own signature or lacks memory.
    """
    try:
        return session.run(list(outputs), dict(inputs))
    except Exception as error:
        # ONNX Runtime's exceptions have no public base class.
        raise UserError(
            f"{path}: ONNX Runtime cannot run it ({one_line(error)}); give the official ONNX file, "
            "or more memory"
        ) from error


def _fits(have: Sequence[int | str | None], want: Sequence[int | None]) -> bool:
    """Whether two shapes agree in all axes of known length."""
    return len(have) == len(want) and all(
        a == b for a, b in zip(have, want, strict=True) if isinstance(a, int) and b is not None
    )


def batch_limit(session: onnxruntime.InferenceSession) -> float:
    """Largest batch size: the length of the first input's first axis, or infinity."""
    first = session.get_inputs()[0].shape[0]
    return first if isinstance(first, int) else math.inf
