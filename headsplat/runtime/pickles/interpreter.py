"""Restricted unpickler: interprets pickle opcodes without importing or calling what a file names.

Python's own unpickler calls the globals that a file names. An allow list does not help, because
numpy's constructors alone can make pointers from plain bytes. Here a global is a `Global`
placeholder, and calls and object states are handled by this project's code
(`headsplat.runtime.pickles.known_globals`). Values are None, bool, int, float, str, bytes, tuple,
list, dict, set and what that code makes.

Python 2 strings decode as latin-1. Time and memory are bounded by the file's size.
"""

import struct
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from headsplat.runtime.errors import shown
from headsplat.runtime.pickles.limits import (
    FREE,
    TIMES,
    allocated_bytes,
    check_size,
    checked_key,
    require_version_table,
)
from headsplat.runtime.pickles.placeholders import (
    Global,
    IgnoredObject,
    ObjectState,
    PendingObject,
    PickleError,
    RefusedError,
    SharedObject,
)

# Opcodes per pickle; the largest genuine file has a hundredth of that.
MOST_STEPS = 1_000_000
# Bound on memo indices: among larger numbers a file can choose many with the same hash.
_LARGEST_MEMO_INDEX = 1 << 32
# Exceptions that a damaged stream raises below and in the handlers of globals.
_DAMAGE = (
    ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError, struct.error,
)  # fmt: skip
_GET, _SMALL, _TEXT, _CALL, _SINGLE, _PAIR, _TRIPLE = b"hKXR\x85\x86\x87"
_TUPLE, _MARK, _FALSE, _PUT, _STOP = b"t(\x89q."

Finder = Callable[[str, str], Global | None]


class Interpreter:
    """Stack machine that interprets one pickle.

    `headsplat.runtime.pickles.opcodes.PickleInterpreter` adds the table of opcodes.

    Args:
        data: bytes of the file.
        find: module and name -> the `Global`, or None for one that is not allowed.
        start: offset in `data` at which the pickle begins.
        persistent: persistent id -> value; without it a persistent id is an error.
        inert: represent objects of unknown classes by `IgnoredObject` instead of raising.
    """

    # Handler of each opcode byte, but for those that `_run` handles itself.
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
        self._names: dict[tuple[str, str], Global] = {}
        self._find, self._persistent, self._inert = find, persistent, inert

    def run(self) -> Any:
        """Interpret the pickle and return its value; `at` is then the offset behind it.

        Raises:
            PickleError: damaged, too large, nested too deep or recursive.
            RefusedError: it names a global that is not allowed.
        """
        try:
            value = self._run()
            check_size(value, len(self.data))
        except PickleError:
            raise
        except _DAMAGE as error:
            raise PickleError(_reason(error, self.at, len(self.data))) from error
        return value

    def _run(self) -> Any:
        # The opcodes that make up nine tenths of a `.frame` are inlined, because a call would take
        # longer than the operation. Clips have ten thousand of these files.
        data, memo, stack, at = self.data, self._memo, self.stack, self.at
        operations = self.operations
        for _ in range(MOST_STEPS):
            code = data[at]
            at += 1
            if code == _GET:
                value = memo[data[at]]
                at += 1
                stack.append(value if type(value) is not PendingObject else value.value)
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
                self.charge(value)
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
                return value if type(value) is not PendingObject else value.value
            else:
                self.at = at
                operations[code](self)
                stack, at = self.stack, self.at
            if data[at] == _PUT:
                # Most values are stored in the memo right after they are made.
                memo[data[at + 1]] = stack[-1]
                at += 2
        raise PickleError(f"it has more than {MOST_STEPS} steps")

    # Shared by the opcode handlers.

    def charge(self, value: Any) -> None:
        """Count the memory of a new value, because a memoized part can be used many times."""
        self._left -= allocated_bytes(value)
        if self._left < 0:
            raise PickleError("its values need many times the file's size")

    def read(self, count: int) -> memoryview:
        """The next `count` bytes."""
        end = self.at + count
        if count < 0 or end > len(self.data):
            raise PickleError("it ends too early")
        found = self._view[self.at : end]
        self.at = end
        return found

    def unsigned(self, size: int) -> int:
        """The next `size` bytes as an unsigned little-endian integer."""
        return int.from_bytes(self.read(size), "little")

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

    def pop_mark(self) -> list[Any]:
        """Pop the last mark and the values above it."""
        items = self.stack
        self.stack = self._below.pop()
        return items

    def put(self, index: int) -> None:
        """Store the top of the stack in the memo."""
        if not 0 <= index < _LARGEST_MEMO_INDEX:
            raise PickleError(f"the memo index {index} is too large")
        self._memo[index] = self.stack[-1]

    def get(self, index: int) -> None:
        """Push a value from the memo."""
        value = self._memo[index]
        self.stack.append(value if type(value) is not PendingObject else value.value)

    def memoize(self) -> None:
        """Store the top of the stack at the next memo index."""
        self.put(len(self._memo))

    def push_global(self, module: str, name: str) -> None:
        """Push a `Global`, or raise `RefusedError`."""
        key = (module, name)
        found = self._names.get(key)
        if found is None:
            found = self._find(module, name)
            if found is None and not self._inert:
                raise RefusedError(module, name)
            found = self._names[key] = found or Global(module, name, _inert, IgnoredObject)
        self.stack.append(found)

    def push_object(self, kind: Any) -> None:
        """Push a new object of a class."""
        if type(kind) is not Global or kind.new is None:
            raise PickleError("it makes an object of an unknown class")
        self.stack.append(kind.new())

    def apply_state(self) -> None:
        """Pop a state and apply it to the object below (opcode BUILD)."""
        state = self.stack.pop()
        target = self.stack[-1]
        if type(target) is PendingObject:
            self.stack[-1] = target.value = target.build(state)
            self.charge(target.value)
        elif isinstance(target, ObjectState):
            if type(state) is dict:
                target.state = state
        elif type(target) is OrderedDict:
            # The only known attribute: torch's state dicts carry versions.
            if type(state) is not dict or not state.keys() <= {"_metadata"}:
                raise PickleError("an ordered dictionary has a state")
            for versions in state.values():
                require_version_table(versions)
                self.charge(versions)
                target._metadata = versions
        elif isinstance(target, SharedObject):
            target.build(state)
        elif type(target) is not IgnoredObject:
            raise PickleError(f"a {type(target).__name__} has a state")

    def extend(self, items: list[Any]) -> None:
        """Append items to the list on top of the stack."""
        target = self.stack[-1]
        if type(target) is list:
            target.extend(items)
        elif type(target) is not IgnoredObject:
            raise PickleError(f"it appends to a {type(target).__name__}")

    def set_items(self, items: list[Any]) -> None:
        """Add alternating keys and values to the dictionary on top of the stack."""
        target = self.stack[-1]
        if type(target) is IgnoredObject:
            return
        if type(target) is not dict and type(target) is not OrderedDict:
            raise PickleError(f"it sets an item of a {type(target).__name__}")
        if len(items) % 2:
            raise PickleError("a key has no value")
        for at in range(0, len(items), 2):
            target[checked_key(items[at])] = items[at + 1]

    def push_persistent(self, identity: Any) -> None:
        """Push the value of a persistent id, which lies outside of the pickle."""
        if self._persistent is None:
            raise PickleError("it holds torch tensors, or refers to another file")
        self.stack.append(self._persistent(identity))


def _called(called: Any, arguments: Any) -> Any:
    if type(called) is IgnoredObject:
        return called
    if type(called) is not Global or type(arguments) is not tuple:
        raise PickleError("it calls an object that is not a function")
    if called.call is None:
        raise RefusedError(called.module, called.name)
    return called.call(*arguments)


def _inert(*_: Any) -> IgnoredObject:
    return IgnoredObject()


def _reason(error: Exception, at: int, size: int) -> str:
    if isinstance(error, IndexError) and at >= size:
        return "it ends too early"
    return shown(f"{type(error).__name__} at byte {at}: {error}", 100)
