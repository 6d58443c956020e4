"""What the names of model files mean: numpy's arrays, ordered dictionaries, kept states.

Arrays hold booleans, integers, floats and strings, and exactly the bytes that the file has for
them. Names of torch are in `headsplat.runtime.pickles.tensors`.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from headsplat.runtime.errors import shown
from headsplat.runtime.pickles.machine import Pending, Shared, key_of
from headsplat.runtime.pickles.nodes import (
    ChumpyArray,
    ChumpyNode,
    Name,
    PickleError,
    SparseColumns,
)
from headsplat.runtime.pickles.opcodes import PickleMachine

_ITEM_SIZES = {"b": (1,), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "f": (2, 4, 8)}
# Bytes of one string, and axes of an array.
_LONGEST_STRING, _MOST_AXES = 1 << 16, 32


class _Dtype(Shared):
    """A `numpy.dtype`, which arrays share: the kind by its constructor, then the byte order."""

    __slots__ = ("code", "made")

    def __init__(self, code: str) -> None:
        self.code = code
        self.made = _numpys("<" + code)

    def build(self, state: Any) -> None:
        order = state[1]
        if order not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise PickleError("numbers of an unknown kind")
        if self.code[0] in "SU" and state[5] not in (-1, self.made.itemsize):
            raise PickleError("strings of two sizes")
        if order == ">":
            self.made = _numpys(">" + self.code)


class _Objects(Shared):
    """The dtype of Python objects: only a single one, as `.npy` files have it."""

    __slots__ = ()

    def build(self, state: Any) -> None:
        """Nothing more is to be known."""

    def single(self, shape: Any, items: Any) -> Any:
        if shape != () or type(items) is not list or len(items) != 1:
            raise PickleError("it has an array of objects")
        return items[0]


@lru_cache(1000)
def _numpys(code: str) -> np.dtype:
    """Numpy's own dtype of a kind that `_dtype` let pass."""
    return np.dtype(code)


def _built(state: Any) -> Any:
    """The array of a state: version, shape, dtype, order, bytes."""
    _, shape, kind, fortran, data = state
    if type(kind) is _Objects:
        return kind.single(shape, data)
    return _array(shape, kind, data, "F" if fortran else "C")


def _array(shape: Any, kind: Any, data: Any, order: str) -> np.ndarray:
    if type(kind) is not _Dtype or type(shape) is not tuple or len(shape) > _MOST_AXES:
        raise PickleError("an array without a kind or shape")
    dtype = kind.made
    size = dtype.itemsize
    for axis in shape:
        if type(axis) is not int or axis < 0:
            raise PickleError("an array without a kind or shape")
        size *= axis
    if type(data) is str:
        data = data.encode("latin-1")
    if type(data) is not bytes or len(data) != size:
        raise PickleError(f"an array of shape {shown(str(list(shape)))} without its bytes")
    # The memory is the array's own, and may be written to.
    array = np.ndarray(shape, dtype, bytearray(data), order=order)
    if dtype.kind == "U":
        require_characters(array)
    return array


def require_characters(array: np.ndarray) -> None:
    """Refuse, with a `PickleError`, strings with codes that are no characters."""
    if array.size:
        codes = array.reshape(-1).view(array.dtype.str[0] + "u4")
        if codes.max() > 0x10FFFF:
            raise PickleError("a string with codes that are no characters")


def _dtype(code: Any, align: Any = False, copy: Any = True) -> _Dtype | _Objects:
    if code in ("O8", "O4", "O"):
        return _Objects()
    if type(code) is not str or len(code) > 12 or not code.isascii() or not code[1:].isdecimal():
        raise PickleError("numbers of an unknown kind")
    kind, size = code[0], int(code[1:6])
    fits = size in _ITEM_SIZES.get(kind, ())
    if not fits and not (kind in "SU" and 0 < size <= _LONGEST_STRING and len(code) < 7):
        raise PickleError(f"numbers of the kind {shown(code)}")
    return _Dtype(f"{kind}{size}")


def _reconstruct(kind: Any, shape: Any, code: Any) -> Pending:
    if type(kind) is not Name or (kind.module, kind.name) != ("numpy", "ndarray"):
        raise PickleError("an array of another class than numpy's")
    return Pending(_built)


def _scalar(kind: Any, data: Any) -> Any:
    return _array((), kind, data, "C")[()]


def _encode(text: Any, coding: Any = "latin1") -> bytes:
    if type(text) is not str or coding not in ("latin1", "latin-1"):
        raise PickleError("bytes in an unknown coding")
    return text.encode("latin-1")


def _no_bytes() -> bytes:
    return b""


def _ordered(pairs: Any = ()) -> OrderedDict:
    made = OrderedDict((key_of(key), value) for key, value in pairs)
    return _as_long(made, pairs)


def _set(items: Any = ()) -> set:
    if type(items) not in (list, tuple):
        raise PickleError("a set of no list")
    return _as_long(set(map(key_of, items)), items)


def _as_long(made: Any, items: Any) -> Any:
    """`made`, if it has as many entries as it was made of: those count, and not the walk."""
    if len(made) != len(items):
        raise PickleError("a key is there twice")
    return made


def _make(kind: Any, base: Any, state: Any) -> Any:
    """As `copyreg._reconstructor`: an object of a class that is kept."""
    if type(kind) is not Name or kind.new is None:
        raise PickleError("it makes an object of no known class")
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
_PLAIN = {key: Name(*key, call) for key, call in _CALLS.items()}
for _module in ("scipy.sparse.csc", "scipy.sparse._csc"):
    _PLAIN[_module, "csc_matrix"] = Name(_module, "csc_matrix", new=SparseColumns)


def plain_name(module: str, name: str) -> Name | None:
    """Numpy's arrays and Python's containers."""
    return _PLAIN.get((module, name))


def model_name(module: str, name: str) -> Name | None:
    """As `plain_name`, and chumpy's nodes."""
    if module == "chumpy" or module.startswith("chumpy."):
        kind = ChumpyArray if name == "Ch" else ChumpyNode
        return Name(module, name, lambda *_: kind(), kind)
    return _PLAIN.get((module, name))


def read_plain(data: bytes) -> Any:
    """What a pickle of plain arrays and containers holds.

    Raises:
        PickleError: see `Machine.run`.
    """
    return PickleMachine(data, plain_name).run()
