"""Pickles read as data: an interpreter of their opcodes in which nothing can be called.

Python's own unpickler calls what a file names, and a list of allowed names does not help: numpy's
constructors alone can make pointers of plain bytes. Here a global is a `Name`, and what a call of
it, or the state of an object, means is our own code (`headsplat.runtime.pickles.names`). Values are
None, bool, int, float, str, bytes, tuple, list, dict, set and what that code makes.

Strings of Python 2 are latin-1. Time and memory are bounded by the file's size.
"""

import struct
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from headsplat.runtime.errors import shown
from headsplat.runtime.pickles.nodes import Inert, KeptState, Name, PickleError, RefusedError
from headsplat.runtime.pickles.weight import FREE, TIMES, made_of, weigh

# A hundred times what the largest genuine file has.
MOST_STEPS = 1_000_000
# Where values can be remembered: of larger numbers, many can have the same hash.
_PLACES = 1 << 32
# What a broken stream brings about in the code below, and in that of the names.
_DAMAGE = (
    ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError, struct.error,
)  # fmt: skip
_LARGEST_KEY, _LONGEST_KEY = 1 << 60, 16
# Bits that the numbers of a tuple may have together, to be a key: with as many as its hash has,
# any number of tuples can be made that have the same.
_KEY_BITS = 48
_KEYS = frozenset((str, int, float, bool, bytes, type(None)))
_GET, _SMALL, _TEXT, _CALL, _SINGLE, _PAIR, _TRIPLE = b"hKXR\x85\x86\x87"
_TUPLE, _MARK, _FALSE, _PUT, _STOP = b"t(\x89q."

Finder = Callable[[str, str], Name | None]


class Pending:
    """An object whose state is still to come.

    Attributes:
        build: takes the state and returns the value that stands for the object from then on.
        value: that value.
    """

    __slots__ = ("build", "value")

    def __init__(self, build: Callable[[Any], Any]) -> None:
        self.build = build
        self.value: Any = self


class Shared:
    """An object that its state changes, for all who refer to it."""

    __slots__ = ()

    def build(self, state: Any) -> None:
        """Take the state."""
        raise NotImplementedError


class Machine:
    """One run over one pickle, by the operations that `headsplat.runtime.pickles.opcodes` gives it.

    Args:
        data: the file.
        find: module and name -> the `Name`, or None for one that is not read.
        start: where in `data` the pickle begins.
        persistent: makes the value of a persistent id; without it there may be none.
        inert: take objects of unknown classes as `Inert`, instead of refusing the file.
    """

    # What each byte means, but for those that `_run` has itself.
    operations: Sequence[Callable[[Any], None]]

    def __init__(
        self,
        data: bytes,
        find: Finder,
        start: int = 0,
        persistent: Callable[[Any], Any] | None = None,
        inert: bool = False,
    ) -> None:
        self.data, self.at = data, start
        self._view = memoryview(data)
        self.stack: list[Any] = []
        self._below: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._left = TIMES * len(data) + FREE
        self._names: dict[tuple[str, str], Name] = {}
        self._find, self._persistent, self._inert = find, persistent, inert

    def run(self) -> Any:
        """The value; `at` is then behind the pickle.

        Raises:
            PickleError: damaged, too large, nested too deep or within itself.
            RefusedError: it names what is not read here.
        """
        try:
            value = self._run()
            weigh(value, len(self.data))
        except PickleError:
            raise
        except _DAMAGE as error:
            raise PickleError(_reason(error, self.at, len(self.data))) from error
        return value

    def _run(self) -> Any:
        # The operations that make up nine tenths of a `.frame` stand here, because a call of each
        # would take longer than what it does: ten thousand frames are read at a time.
        data, memo, stack, at = self.data, self._memo, self.stack, self.at
        operations = self.operations
        for _ in range(MOST_STEPS):
            code = data[at]
            at += 1
            if code == _GET:
                value = memo[data[at]]
                at += 1
                stack.append(value if type(value) is not Pending else value.value)
                continue
            if code == _SMALL:
                stack.append(data[at])
                at += 1
                continue
            if code == _TEXT:
                start = at + 4
                at = start + int.from_bytes(data[at:start], "little")
                if at > len(data):
                    raise PickleError("it ends too early")
                stack.append(data[start:at].decode())
            elif code == _CALL:
                arguments = stack.pop()
                stack[-1] = value = _called(stack[-1], arguments)
                self.spend(value)
            elif code == _SINGLE:
                stack[-1] = (stack[-1],)
            elif code == _PAIR:
                value = stack.pop()
                stack[-1] = (stack[-1], value)
            elif code == _TRIPLE:
                value, before = stack.pop(), stack.pop()
                stack[-1] = (stack[-1], before, value)
            elif code == _TUPLE:
                value = tuple(stack)
                stack = self.stack = self._below.pop()
                stack.append(value)
            elif code == _MARK:
                self._below.append(stack)
                stack = self.stack = []
                continue
            elif code == _FALSE:
                stack.append(False)
                continue
            elif code == _STOP:
                self.at = at
                value = stack.pop()
                return value if type(value) is not Pending else value.value
            else:
                self.at = at
                operations[code](self)
                stack, at = self.stack, self.at
            if data[at] == _PUT:
                # Most values are remembered as soon as they are made.
                memo[data[at + 1]] = stack[-1]
                at += 2
        raise PickleError(f"it has more than {MOST_STEPS} steps")

    # What operations share.

    def spend(self, value: Any) -> None:
        """Count what was made of things that may be named again and again."""
        self._left -= made_of(value)
        if self._left < 0:
            raise PickleError("it makes many times its size of its parts")

    def take(self, count: int) -> memoryview:
        """The next `count` bytes."""
        end = self.at + count
        if count < 0 or end > len(self.data):
            raise PickleError("it ends too early")
        found = self._view[self.at : end]
        self.at = end
        return found

    def unsigned(self, size: int) -> int:
        """The next `size` bytes as a number."""
        return int.from_bytes(self.take(size), "little")

    def line(self, longest: int | None = None) -> bytes:
        """The rest of the line."""
        end = self.data.find(b"\n", self.at)
        if end < 0:
            raise PickleError("it ends too early")
        if longest is not None and end - self.at > longest:
            raise PickleError(f"a number or name of {end - self.at} characters")
        text = self.data[self.at : end]
        self.at = end + 1
        return text

    def marked(self) -> list[Any]:
        """What lies above the last mark, which goes."""
        items = self.stack
        self.stack = self._below.pop()
        return items

    def put(self, index: int) -> None:
        """Remember what lies on top."""
        if not 0 <= index < _PLACES:
            raise PickleError(f"it remembers a value at place {index}")
        self._memo[index] = self.stack[-1]

    def get(self, index: int) -> None:
        """Lay on top what was remembered."""
        value = self._memo[index]
        self.stack.append(value if type(value) is not Pending else value.value)

    def memoize(self) -> None:
        """Remember what lies on top, at the next place."""
        self.put(len(self._memo))

    def name(self, module: str, name: str) -> None:
        """Lay a global's name on top, or refuse it."""
        key = (module, name)
        found = self._names.get(key)
        if found is None:
            found = self._find(module, name)
            if found is None and not self._inert:
                raise RefusedError(module, name)
            found = self._names[key] = found or Name(module, name, _inert, Inert)
        self.stack.append(found)

    def make(self, kind: Any) -> None:
        """Lay an object of a class on top."""
        if type(kind) is not Name or kind.new is None:
            raise PickleError("it makes an object of no known class")
        self.stack.append(kind.new())

    def build(self) -> None:
        """Give the state on top to the object below it."""
        state = self.stack.pop()
        target = self.stack[-1]
        if type(target) is Pending:
            self.stack[-1] = target.value = target.build(state)
            self.spend(target.value)
        elif isinstance(target, KeptState):
            if type(state) is dict:
                target.state = state
        elif type(target) is OrderedDict:
            # torch's state dicts carry versions; no other attribute is known.
            if type(state) is not dict or not state.keys() <= {"_metadata"}:
                raise PickleError("an ordered dictionary has a state")
            for versions in state.values():
                require_tables(versions)
                self.spend(versions)
                target._metadata = versions
        elif isinstance(target, Shared):
            target.build(state)
        elif type(target) is not Inert:
            raise PickleError(f"a {type(target).__name__} has a state")

    def extend(self, items: list[Any]) -> None:
        """Append to the list on top."""
        target = self.stack[-1]
        if type(target) is list:
            target.extend(items)
        elif type(target) is not Inert:
            raise PickleError(f"it appends to a {type(target).__name__}")

    def enter(self, items: list[Any]) -> None:
        """Keys and values in turn into the dictionary on top."""
        target = self.stack[-1]
        if type(target) is Inert:
            return
        if type(target) is not dict and type(target) is not OrderedDict:
            raise PickleError(f"it sets an item of a {type(target).__name__}")
        if len(items) % 2:
            raise PickleError("a key has no value")
        for at in range(0, len(items), 2):
            target[key_of(items[at])] = items[at + 1]

    def persist(self, identity: Any) -> None:
        """Lay on top what lies outside of the pickle."""
        if self._persistent is None:
            raise PickleError("it holds torch tensors, or refers to another file")
        self.stack.append(self._persistent(identity))


def _called(called: Any, arguments: Any) -> Any:
    if type(called) is Inert:
        return called
    if type(called) is not Name or type(arguments) is not tuple:
        raise PickleError("it calls what is no function")
    if called.call is None:
        raise RefusedError(called.module, called.name)
    return called.call(*arguments)


def key_of(value: Any) -> Any:
    """`value` if it may be a key or stand in a set: a scalar, or a tuple of scalars.

    Others cannot be hashed, or only in more time than there is; of large integers, and of tuples
    of numbers, many can have the same hash.
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
    """Bits of a key's hash that the file can choose; strings are hashed with a secret."""
    if type(part) is float:
        return _KEY_BITS + 1
    return part.bit_length() if type(part) is int else 0


def require_tables(value: Any) -> None:
    """Refuse, with a `PickleError`, anything but a dictionary of dictionaries."""
    kinds = (dict, OrderedDict)
    if type(value) not in kinds or any(type(part) not in kinds for part in value.values()):
        raise PickleError("a state dict has versions that are none")


def _inert(*_: Any) -> Inert:
    return Inert()


def _reason(error: Exception, at: int, size: int) -> str:
    if isinstance(error, IndexError) and at >= size:
        return "it ends too early"
    return shown(f"{type(error).__name__} at byte {at}: {error}", 100)
