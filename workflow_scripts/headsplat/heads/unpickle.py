"""Reading of foreign pickles through an allow-list: nothing that a file names is ever run.

FLAME's files are pickles of numpy arrays, of scipy's sparse matrices, of chumpy's array nodes and
(the landmark table) of torch tensors. Plain numpy is rebuilt; sparse matrices and chumpy nodes
become inert objects that only keep their state, so neither scipy's internals nor chumpy is
needed; tensors become numpy arrays. Every other global is refused by name.
"""

import codecs
import copyreg
import io
import math
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from headsplat.errors import UserError


class KeptState:
    """An object of a class that is not at hand: its pickled state and nothing else."""

    def __init__(self, *args: Any) -> None:
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.state = state


class SparseColumns(KeptState):
    """A scipy csc matrix: `data`, `indices`, `indptr` and `_shape` in its state."""


class ChumpyNode(KeptState):
    """An object of any chumpy class."""


class ChumpyArray(ChumpyNode):
    """A `chumpy.Ch`: its values under `x`, where functions keep what they are applied to."""


class _RefusedError(pickle.UnpicklingError):
    """A global outside the allow-list; the message is its name."""


def _read_storage(data: bytes) -> torch.storage.TypedStorage:
    return torch.load(io.BytesIO(data), weights_only=True)


def _rebuild_tensor(
    storage: torch.storage.TypedStorage, offset: int, size: tuple, stride: tuple, *_: Any
) -> np.ndarray:
    if stride != torch.empty(size, device="meta").stride():
        raise ValueError(f"a tensor of size {size} with strides {stride} is not contiguous")
    flat = torch.tensor([], dtype=storage.dtype).set_(storage).numpy()
    return flat[offset : offset + math.prod(size)].reshape(size)


_RECONSTRUCT = np.array(0).__reduce__()[0]
_SCALAR = np.float64(0).__reduce__()[0]
_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): codecs.encode,
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch.storage", "_load_from_bytes"): _read_storage,
}
for _module in ("numpy.core.multiarray", "numpy._core.multiarray"):
    _ALLOWED[_module, "_reconstruct"] = _RECONSTRUCT
    _ALLOWED[_module, "scalar"] = _SCALAR
for _module in ("copy_reg", "copyreg"):
    _ALLOWED[_module, "_reconstructor"] = copyreg._reconstructor
for _module in ("builtins", "__builtin__"):
    _ALLOWED[_module, "object"] = object
    _ALLOWED[_module, "set"] = set
for _module in ("scipy.sparse.csc", "scipy.sparse._csc"):
    _ALLOWED[_module, "csc_matrix"] = SparseColumns


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module == "chumpy" or module.startswith("chumpy."):
            return ChumpyArray if name == "Ch" else ChumpyNode
        if (module, name) not in _ALLOWED:
            raise _RefusedError(f"{module}.{name}")
        return _ALLOWED[module, name]


def load_pickle(path: Path | str) -> Any:
    """Read a pickle (Python 2's too: strings decode as latin-1).

    Args:
        path: the pickle, or an `.npy` that holds one object.

    Returns:
        What it holds, with sparse matrices and chumpy nodes as `KeptState`: see `dense`.

    Raises:
        UserError: the file cannot be read, is truncated, or names a global that no model file
            needs; then nothing of it has been run.
    """
    try:
        data = io.BytesIO(Path(path).read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    try:
        if data.getvalue()[:6] == np.lib.format.MAGIC_PREFIX:
            version = np.lib.format.read_magic(data)
            read_header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            read_header(data)
            return _Unpickler(data, encoding="latin1").load().item()
        return _Unpickler(data, encoding="latin1").load()
    except _RefusedError as error:
        raise UserError(
            f"{path}: refused, it wants to load '{error}', which no head model needs; "
            "do not use this file"
        ) from error
    except Exception as error:
        # A broken pickle can raise nearly anything from the constructors it feeds.
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(f"{path}: not a whole pickle ({reason}); download it again") from error


def dense(value: Any) -> np.ndarray:
    """The numbers of an unpickled value: an array, a sparse matrix or a chumpy node.

    Raises:
        ValueError: the value holds no array.
    """
    for _ in range(8):
        if not isinstance(value, ChumpyNode):
            break
        value = _chumpy_value(value)
    if isinstance(value, SparseColumns):
        return _densify(value.state)
    if not isinstance(value, np.ndarray) or value.dtype == object:
        raise ValueError(f"holds {type(value).__name__}, not numbers")
    return value


def _chumpy_value(node: ChumpyNode) -> Any:
    state = node.state
    if isinstance(node, ChumpyArray) and "x" in state:
        return state["x"]
    if {"a", "idxs", "preferred_shape"} <= state.keys():
        source, rows = dense(state["a"]), dense(state["idxs"])
        return source.ravel()[rows].reshape(state["preferred_shape"])
    raise ValueError(f"is a chumpy expression with {sorted(state)}, not an array")


def _densify(state: dict[str, Any]) -> np.ndarray:
    try:
        data, rows, starts = (dense(state[key]) for key in ("data", "indices", "indptr"))
        shape = state["_shape"] if "_shape" in state else state["shape"]
        matrix = np.zeros(shape, data.dtype)
        columns = np.repeat(np.arange(matrix.shape[1]), np.diff(starts))
        np.add.at(matrix, (rows, columns), data)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ValueError(f"is not a csc matrix ({error})") from error
    return matrix
