"""Allowed globals of the restricted unpickler: numpy arrays, containers, scipy and chumpy objects.

Arrays hold booleans, integers, floats or strings, and exactly as many bytes as the file has for
them. The globals of torch are in `headsplat.runtime.pickles.tensors`.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from headsplat.runtime.errors import shown
from headsplat.runtime.pickles.limits import checked_key
from headsplat.runtime.pickles.opcodes import PickleInterpreter
from headsplat.runtime.pickles.placeholders import (
    ChumpyArray,
    ChumpyNode,
    Global,
    PendingObject,
    PickleError,
    SharedObject,
    SparseColumns,
)

_ITEM_SIZES = {"b": (1,), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "f": (2, 4, 8)}
# Bytes of one string, and axes of an array.
_LONGEST_STRING, _MOST_AXES = 1 << 16, 32


class _Dtype(SharedObject):
    """A `numpy.dtype`, shared by arrays; its state adds the byte order."""

    __slots__ = ("code", "made")

    def __init__(self, code: str) -> None:
        self.code = code
        self.made = _numpy_dtype("<" + code)

    def build(self, state: Any) -> None:
        order = state[1]
        if order not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise PickleError("an unknown dtype")
        if self.code[0] in "SU" and state[5] not in (-1, self.made.itemsize):
            raise PickleError("a string dtype with two sizes")
        if order == ">":
            self.made = _numpy_dtype(">" + self.code)


class _ObjectDtype(SharedObject):
    """The dtype of Python objects, allowed for an array of shape () as in some `.npy` files."""

    __slots__ = ()

    def build(self, state: Any) -> None:
        """Ignore the state."""

    def single(self, shape: Any, items: Any) -> Any:
        if shape != () or type(items) is not list or len(items) != 1:
            raise PickleError("it has an array of objects")
        return items[0]


@lru_cache(1000)
def _numpy_dtype(code: str) -> np.dtype:
    """The dtype of a code that `_dtype` has checked."""
    return np.dtype(code)


def _array_from_state(state: Any) -> Any:
    """The array of a pickled state: version, shape, dtype, order, bytes."""
    _, shape, kind, fortran, data = state
    if type(kind) is _ObjectDtype:
        return kind.single(shape, data)
    return _array(shape, kind, data, "F" if fortran else "C")


def _array(shape: Any, kind: Any, data: Any, order: str) -> np.ndarray:
    if type(kind) is not _Dtype or type(shape) is not tuple or len(shape) > _MOST_AXES:
        raise PickleError("an array without a dtype or shape")
    dtype = kind.made
    size = dtype.itemsize
    for axis in shape:
        if type(axis) is not int or axis < 0:
            raise PickleError("an array without a dtype or shape")
        size *= axis
    if type(data) is str:
        data = data.encode("latin-1")
    if type(data) is not bytes or len(data) != size:
        raise PickleError(f"an array of shape {shown(str(list(shape)))} without its bytes")
    # A copy, so that the array is writable and does not keep the file in memory.
    array = np.ndarray(shape, dtype, bytearray(data), order=order)
    if dtype.kind == "U":
        require_characters(array)
    return array


def require_characters(array: np.ndarray) -> None:
    """Raise `PickleError` if strings contain codes beyond Unicode's range."""
    if array.size:
        codes = array.reshape(-1).view(array.dtype.str[0] + "u4")
        if codes.max() > 0x10FFFF:
            raise PickleError("a string with invalid Unicode code points")


def _dtype(code: Any, align: Any = False, copy: Any = True) -> _Dtype | _ObjectDtype:
    if code in ("O8", "O4", "O"):
        return _ObjectDtype()
    if type(code) is not str or len(code) > 12 or not code.isascii() or not code[1:].isdecimal():
        raise PickleError("an unknown dtype")
    kind, size = code[0], int(code[1:6])
    fits = size in _ITEM_SIZES.get(kind, ())
    if not fits and not (kind in "SU" and 0 < size <= _LONGEST_STRING and len(code) < 7):
        raise PickleError(f"unsupported dtype {shown(code)}")
    return _Dtype(f"{kind}{size}")


def _reconstruct(kind: Any, shape: Any, code: Any) -> PendingObject:
    if type(kind) is not Global or (kind.module, kind.name) != ("numpy", "ndarray"):
        raise PickleError("an array class that is not numpy.ndarray")
    return PendingObject(_array_from_state)


def _scalar(kind: Any, data: Any) -> Any:
    return _array((), kind, data, "C")[()]


def _encode(text: Any, coding: Any = "latin1") -> bytes:
    if type(text) is not str or coding not in ("latin1", "latin-1"):
        raise PickleError("bytes in an unknown encoding")
    return text.encode("latin-1")


def _no_bytes() -> bytes:
    return b""


def _ordered(pairs: Any = ()) -> OrderedDict:
    made = OrderedDict((checked_key(key), value) for key, value in pairs)
    return _without_duplicates(made, pairs)


def _set(items: Any = ()) -> set:
    if type(items) not in (list, tuple):
        raise PickleError("a set that is not made from a list")
    return _without_duplicates(set(map(checked_key, items)), items)


def _without_duplicates(made: Any, items: Any) -> Any:
    """Return `made` if it is as long as `items`: `charge` counts entries, not iterations."""
    if len(made) != len(items):
        raise PickleError("a key is there twice")
    return made


def _make(kind: Any, base: Any, state: Any) -> Any:
    """As `copyreg._reconstructor`: a new object of a known class."""
    if type(kind) is not Global or kind.new is None:
        raise PickleError("it makes an object of an unknown class")
    return kind.new()


_CALLS: dict[tuple[str, str], Callable[..., Any] | None] = {
    ("numpy", "ndarray"): None,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): _ordered,
}
for _module in ("numpy.core.multiarray", "numpy._core.multiarray"):
    _CALLS[_module, "_reconstruct"] = _reconstruct
    _CALLS[_module, "scalar"] = _scalar
for _module in ("copy_reg", "copyreg"):
    _CALLS[_module, "_reconstructor"] = _make
for _module in ("builtins", "__builtin__"):
    _CALLS[_module, "object"] = None
    _CALLS[_module, "set"] = _set
    _CALLS[_module, "bytes"] = _no_bytes
_PLAIN = {key: Global(*key, call) for key, call in _CALLS.items()}
for _module in ("scipy.sparse.csc", "scipy.sparse._csc"):
    _PLAIN[_module, "csc_matrix"] = Global(_module, "csc_matrix", new=SparseColumns)


def plain_global(module: str, name: str) -> Global | None:
    """`Finder` of numpy arrays, scipy matrices and Python containers."""
    return _PLAIN.get((module, name))


def model_global(module: str, name: str) -> Global | None:
    """`Finder` as `plain_global`, extended by chumpy's nodes."""
    if module == "chumpy" or module.startswith("chumpy."):
        kind = ChumpyArray if name == "Ch" else ChumpyNode
        return Global(module, name, lambda *_: kind(), kind)
    return _PLAIN.get((module, name))


def read_plain(data: bytes) -> Any:
    """Read a pickle of plain arrays and containers.

    Raises:
        PickleError: see `Interpreter.run`.
    """
    return PickleInterpreter(data, plain_global).run()
