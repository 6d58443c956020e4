"""How large a read value is when it is written out, shared parts as often as they are named."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import numpy as np

from headsplat.runtime.pickles.nodes import KeptState, PickleError

DEEPEST = 64
# A value may be that many times the file, and this much at all events; so may what is made of
# named parts while it is read.
TIMES, FREE = 16, 1 << 20
# Of anything, in bytes, beside what a string or array holds.
_EACH = 8
# Of a dictionary or set, for each of its entries.
_ENTRY = 100
_NUMPY = (np.ndarray, np.generic)


def weigh(value: Any, size: int) -> None:
    """Check that a walk through all parts of a value ends, and soon.

    Args:
        value: what a pickle holds.
        size: of the file, in bytes.

    Raises:
        PickleError: parts lie within themselves or too deep, or they are named so often that the
            whole is much larger than the file.
    """
    most = TIMES * size + FREE
    members = _members(value)
    if members is None:
        return
    # By identity; those that are being weighed have none yet.
    weights: dict[int, int | None] = {id(value): None}
    path = [(value, iter(members))]
    totals = [_EACH]
    while path:
        node, rest = path[-1]
        for child in rest:
            key = id(child)
            if key in weights:
                if weights[key] is None:
                    raise PickleError("a part of it lies within itself")
                totals[-1] += weights[key]
                continue
            members = _members(child)
            if members is not None:
                weights[key] = None
                path.append((child, iter(members)))
                totals.append(_EACH)
                break
            totals[-1] += _leaf(child)
        else:
            path.pop()
            weights[id(node)] = total = totals.pop()
            if total > most:
                raise PickleError("it repeats its parts to many times the file's size")
            if totals:
                totals[-1] += total
        if len(path) > DEEPEST:
            raise PickleError(f"its parts lie more than {DEEPEST} deep within each other")


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
    if isinstance(value, KeptState):
        return (value.state,)
    return None


def _leaf(value: Any) -> int:
    if type(value) is str or type(value) is bytes:
        return _EACH + len(value)
    return _EACH + value.nbytes if isinstance(value, _NUMPY) else _EACH


def made_of(value: Any) -> int:
    """Bytes that a value took which our own code made of others, or went through."""
    kind = type(value)
    if kind is np.ndarray:
        return value.nbytes
    if kind is bytes:
        return len(value)
    if kind is OrderedDict or kind is set or kind is dict:
        return _ENTRY * len(value)
    return value.nbytes if isinstance(value, np.generic) else _EACH
