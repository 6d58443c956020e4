"""Restricted unpickler for FLAME: arrays, sparse matrices and chumpy nodes, read as data.

Neither scipy nor chumpy is imported: their objects are read as plain state. The landmark table's
torch tensors become numpy arrays.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np

from headsplat.runtime.errors import UserError, shown
from headsplat.runtime.pickles.known_globals import model_global
from headsplat.runtime.pickles.opcodes import PickleInterpreter
from headsplat.runtime.pickles.placeholders import (
    ChumpyArray,
    ChumpyNode,
    PickleError,
    RefusedError,
    SparseColumns,
)
from headsplat.runtime.pickles.tensors import Storage, TensorGlobals, TensorReference
from headsplat.runtime.pickles.torch_files import read_legacy
from headsplat.runtime.regular import read_regular

# Size limit; the official model has 50 MB.
_LARGEST = 1 << 30
# Limit of the total bytes of storages, as a multiple of the file size.
_TIMES = 4
# Limits of nested chumpy selections, and of the size of a densified matrix.
_DEEPEST, _DENSEST = 8, 1 << 24


def load_pickle(path: Path | str) -> Any:
    """Read a pickle (Python 2's too: strings decode as latin-1); nothing in it is run.

    Args:
        path: the pickle, or an `.npy` that holds one object.

    Returns:
        What it holds, with sparse matrices and chumpy nodes as `ObjectState`: see `dense`.

    Raises:
        UserError: the file cannot be read, is truncated, or names what no model file needs.
    """
    try:
        data = read_regular(path, _LARGEST)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    try:
        names = TensorGlobals(len(data), _numbers, _Storages(len(data)).read, model_global)
        return PickleInterpreter(data, names.find, _start(data)).run()
    except RefusedError as error:
        raise UserError(
            f"{path}: refused, it wants to load '{error.named}', which no head model needs; "
            "do not use this file"
        ) from error
    except PickleError as error:
        raise UserError(f"{path}: not a complete pickle ({error}); download it again") from error


def _start(data: bytes) -> int:
    """Where the pickle begins: behind the header of an `.npy`, if there is one."""
    if not data.startswith(np.lib.format.MAGIC_PREFIX):
        return 0
    # Only the length of the header is needed: the pickle repeats type and shape.
    version, handle = data[6:8], io.BytesIO(data)
    size = {b"\x01\x00": 2, b"\x02\x00": 4, b"\x03\x00": 4}.get(version)
    if size is None:
        raise PickleError("an .npy of an unknown version")
    handle.seek(8)
    return 8 + size + int.from_bytes(handle.read(size), "little")


def _numbers(reference: TensorReference) -> np.ndarray:
    try:
        return reference.tensor().detach().numpy()
    except TypeError as error:
        raise PickleError("a tensor of numbers that numpy lacks") from error


class _Storages:
    """Storages embedded as torch files in bytes, which a pickle may repeat.

    Args:
        size: of the file, in bytes.
    """

    def __init__(self, size: int) -> None:
        self._left = _TIMES * size

    def read(self, data: Any) -> Storage:
        """The storage of such bytes."""
        if type(data) is not bytes:
            raise PickleError("a tensor without its storage")
        self._left -= len(data)
        if self._left < 0:
            raise PickleError("its tensors repeat their numbers to many times the file's size")
        storage = read_legacy(data, _numbers)
        if type(storage) is not Storage:
            raise PickleError("a tensor without its storage")
        return storage


def dense(value: Any) -> np.ndarray:
    """The numbers of an unpickled value: an array, a sparse matrix or a chumpy node.

    Raises:
        ValueError: the value holds no array of numbers.
    """
    return _dense(value, _DEEPEST)


def _dense(value: Any, deepest: int) -> np.ndarray:
    while isinstance(value, ChumpyNode):
        if deepest == 0:
            raise ValueError("has chumpy nodes too deep within each other")
        deepest -= 1
        state = value.state
        if isinstance(value, ChumpyArray) and "x" in state:
            value = state["x"]
        elif {"a", "idxs", "preferred_shape"} <= state.keys():
            return _selected(state, deepest)
        else:
            names = shown(str(sorted(map(str, state))), 100)
            raise ValueError(f"is a chumpy expression with {names}, not an array")
    if isinstance(value, SparseColumns):
        return _densify(value.state, deepest)
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
        raise ValueError(f"holds {type(value).__name__}, not numbers")
    return value


def _selected(state: dict[str, Any], deepest: int) -> np.ndarray:
    source, rows = _dense(state["a"], deepest), _dense(state["idxs"], deepest)
    try:
        return source.ravel()[rows].reshape(state["preferred_shape"])
    except (IndexError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"is a selection that does not fit ({shown(str(error))})") from error


def _densify(state: dict[str, Any], deepest: int) -> np.ndarray:
    try:
        data, rows, starts = (_dense(state[key], deepest) for key in ("data", "indices", "indptr"))
        shape = state["_shape"] if "_shape" in state else state["shape"]
        height, width = (int(size) for size in shape)
        _check_columns(data, rows, starts, height, width)
        matrix = np.zeros((height, width), data.dtype)
        np.add.at(matrix, (rows, np.repeat(np.arange(width), np.diff(starts))), data)
    except (KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"is not a csc matrix ({shown(str(error))})") from error
    return matrix


def _check_columns(
    data: np.ndarray, rows: np.ndarray, starts: np.ndarray, height: int, width: int
) -> None:
    """Check the CSC structure: column offsets ascend and all indices are in range."""
    if height < 0 or width < 0 or height * width > _DENSEST:
        raise ValueError(f"its shape is [{height}, {width}]")
    if {data.ndim, rows.ndim, starts.ndim} != {1} or {rows.dtype.kind, starts.dtype.kind} - {*"iu"}:
        raise ValueError("its indices are none")
    counts = np.diff(starts.astype(np.int64))
    fits = len(starts) == width + 1 and len(rows) == len(data)
    if not fits or starts[0] != 0 or starts[-1] != len(data) or (counts < 0).any():
        raise ValueError("its columns do not fit its entries")
