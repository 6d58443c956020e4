"""Bounds on unpickled values: total size, nesting depth, and dictionary keys.

A shared part counts once per reference, so that later code can walk through a value in bounded
time. Keys are restricted, because a file could choose many with the same hash.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import numpy as np

from headsplat.runtime.pickles.placeholders import ObjectState, PickleError

DEEPEST = 64
# A value, and what is allocated while it is read, may have `TIMES` the file's size plus `FREE`.
TIMES, FREE = 16, 1 << 20
# Bytes counted for any object, beside the content of a string or array.
_EACH = 8
# Bytes counted for each entry of a dictionary or set.
_ENTRY = 100
_NUMPY = (np.ndarray, np.generic)
_LARGEST_KEY, _LONGEST_KEY = 1 << 60, 16
# Total bits of the numbers in a tuple that is a key. With as many bits as a hash has, a file could
# contain any number of tuples with the same hash.
_KEY_BITS = 48
_KEYS = frozenset((str, int, float, bool, bytes, type(None)))


def check_size(value: Any, size: int) -> None:
    """Check that a value is not recursive, not nested too deep, and not much larger than its file.

    Args:
        value: the value of a pickle.
        size: size of the file in bytes.

    Raises:
        PickleError: it is recursive or nested too deep, or references repeat its parts so often
            that the whole is much larger than the file.
    """
    most = TIMES * size + FREE
    members = _members(value)
    if members is None:
        return
    # id -> size; None while the size is being computed.
    sizes: dict[int, int | None] = {id(value): None}
    path = [(value, iter(members))]
    totals = [_EACH]
    while path:
        node, rest = path[-1]
        for child in rest:
            key = id(child)
            if key in sizes:
                if sizes[key] is None:
                    raise PickleError("a part of it contains itself")
                totals[-1] += sizes[key]
                continue
            members = _members(child)
            if members is not None:
                sizes[key] = None
                path.append((child, iter(members)))
                totals.append(_EACH)
                break
            totals[-1] += _leaf(child)
        else:
            path.pop()
            sizes[id(node)] = total = totals.pop()
            if total > most:
                raise PickleError("it repeats its parts to many times the file's size")
            if totals:
                totals[-1] += total
        if len(path) > DEEPEST:
            raise PickleError(f"it is nested more than {DEEPEST} levels deep")


def _members(value: Any) -> Iterable[Any] | None:
    kind = type(value)
    if kind is dict:
        return (*value, *value.values())
    if kind is list or kind is tuple:
        return value
    if kind is OrderedDict:
        return (*value, *value.values(), getattr(value, "_metadata", None))
    if kind is set or kind is frozenset:
        return tuple(value)
    if isinstance(value, ObjectState):
        return (value.state,)
    return None


def _leaf(value: Any) -> int:
    if type(value) is str or type(value) is bytes:
        return _EACH + len(value)
    return _EACH + value.nbytes if isinstance(value, _NUMPY) else _EACH


def allocated_bytes(value: Any) -> int:
    """Approximate memory in bytes of a value that a handler of a global made."""
    kind = type(value)
    if kind is np.ndarray:
        return value.nbytes
    if kind is bytes:
        return len(value)
    if kind is OrderedDict or kind is set or kind is dict:
        return _ENTRY * len(value)
    return value.nbytes if isinstance(value, np.generic) else _EACH


def checked_key(value: Any) -> Any:
    """Return `value` if it may be a key or a set's element: a scalar or a tuple of scalars.

    Raises:
        PickleError: it is not hashable, takes long to hash, or has numbers so large that many
            keys can have the same hash.
    """
    kind = type(value)
    if kind is str:
        return value
    if kind is tuple and len(value) > _LONGEST_KEY:
        raise PickleError("a long tuple is used as a key")
    for part in value if kind is tuple else (value,):
        if type(part) not in _KEYS or (type(part) is int and abs(part) >= _LARGEST_KEY):
            raise PickleError(f"a {kind.__name__} is used as a key")
    if kind is tuple and sum(map(_bits, value)) > _KEY_BITS:
        raise PickleError("a tuple of large numbers is used as a key")
    return value


def _bits(part: Any) -> int:
    """Bits of a key's hash that a file can choose; string hashes are randomized by Python."""
    if type(part) is float:
        return _KEY_BITS + 1
    return part.bit_length() if type(part) is int else 0


def require_version_table(value: Any) -> None:
    """Raise `PickleError` unless `value` is a dictionary of dictionaries."""
    kinds = (dict, OrderedDict)
    if type(value) not in kinds or any(type(part) not in kinds for part in value.values()):
        raise PickleError("the version table of a state dict is invalid")
