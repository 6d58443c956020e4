"""Pickles read as data: an interpreter of their opcodes in which nothing can be called.

Python's own unpickler calls what a file names, and a list of allowed names does not help: numpy's
constructors alone can make pointers of plain bytes. Here a global is a `Name`, and what a call of
it, or the state of an object, means is our own code (`headsplat.pickles.names`). Values are None,
bool, int, float, str, bytes, tuple, list, dict, set and what that code makes.

Strings of Python 2 are latin-1. Time and memory are bounded by the file's size.
"""

import codecs
import struct
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from headsplat.errors import shown
from headsplat.pickles.nodes import Inert, KeptState, Name, PickleError, RefusedError
from headsplat.pickles.weight import FREE, TIMES, made_of, weigh

# A hundred times what the largest genuine file has.
MOST_STEPS = 1_000_000
# Where values can be remembered: of larger numbers, many can have the same hash.
_PLACES = 1 << 32
# Bytes and digits of an integer, characters of any other number.
_LONGEST_INT, _MOST_DIGITS = 16, 40
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
    """One run over one pickle.

    Args:
        data: the file.
        find: module and name -> the `Name`, or None for one that is not read.
        start: where in `data` the pickle begins.
        persistent: makes the value of a persistent id; without it there may be none.
        inert: take objects of unknown classes as `Inert`, instead of refusing the file.
    """

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
                _OPERATIONS[code](self)
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
    """What a part of a key adds to its hash that the file can choose; texts are hashed with a
    secret.
    """
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


# The other opcodes, by their byte: pickletools.opcodes has their meaning at length.


def _unknown(machine: Machine) -> None:
    code = machine.data[machine.at - 1]
    raise PickleError(f"byte {machine.at - 1} ({code:#04x}) is no operation that is read here")


def _protocol(m: Machine) -> None:
    if m.unsigned(1) > 5:
        raise PickleError("it is of an unknown protocol")


def _frame(m: Machine) -> None:
    size = m.unsigned(8)
    if size > len(m.data) - m.at:
        raise PickleError("it ends too early")


def _constant(value: Any) -> Callable[[Machine], None]:
    return lambda m: m.stack.append(value)


def _empty(kind: type) -> Callable[[Machine], None]:
    return lambda m: m.stack.append(kind())


def _integer(size: int) -> Callable[[Machine], None]:
    return lambda m: m.stack.append(m.unsigned(size))


def _signed(m: Machine) -> None:
    m.stack.append(int.from_bytes(m.take(4), "little", signed=True))


def _long(size: int) -> Callable[[Machine], None]:
    def read(m: Machine) -> None:
        count = m.unsigned(size)
        if count > _LONGEST_INT:
            raise PickleError(f"an integer of {count} bytes")
        m.stack.append(int.from_bytes(m.take(count), "little", signed=True))

    return read


def _int_line(m: Machine) -> None:
    text = m.line(_MOST_DIGITS)
    # Truth values are integers with a zero in front.
    m.stack.append(text == b"01" if text in (b"00", b"01") else int(text))


def _long_line(m: Machine) -> None:
    m.stack.append(int(m.line(_MOST_DIGITS).rstrip(b"L")))


def _float_line(m: Machine) -> None:
    m.stack.append(float(m.line(_MOST_DIGITS)))


def _float(m: Machine) -> None:
    m.stack.append(struct.unpack(">d", m.take(8))[0])


def _string_line(m: Machine) -> None:
    text = m.line()
    if len(text) < 2 or text[:1] != text[-1:] or text[:1] not in (b"'", b'"'):
        raise PickleError("a string without its quotes")
    m.stack.append(codecs.escape_decode(text[1:-1])[0].decode("latin-1"))


def _unicode_line(m: Machine) -> None:
    m.stack.append(m.line().decode("raw-unicode-escape"))


def _text(size: int, coding: str) -> Callable[[Machine], None]:
    def read(m: Machine) -> None:
        data, start = m.data, m.at + size
        end = start + int.from_bytes(data[m.at : start], "little")
        if end > len(data):
            raise PickleError("it ends too early")
        m.stack.append(str(data[start:end], coding))
        m.at = end

    return read


def _bytes(size: int) -> Callable[[Machine], None]:
    return lambda m: m.stack.append(bytes(m.take(m.unsigned(size))))


def _marked_as(kind: Callable[[list[Any]], Any]) -> Callable[[Machine], None]:
    def gather(m: Machine) -> None:
        items = m.marked()
        m.stack.append(kind(items))

    return gather


def _frozen(items: list[Any]) -> frozenset:
    return frozenset(map(key_of, items))


def _dict(m: Machine) -> None:
    items = m.marked()
    m.stack.append({})
    m.enter(items)


def _append(m: Machine) -> None:
    value = m.stack.pop()
    m.extend([value])


def _set_item(m: Machine) -> None:
    value, key = m.stack.pop(), m.stack.pop()
    m.enter([key, value])


def _add_items(m: Machine) -> None:
    items, target = m.marked(), m.stack[-1]
    if type(target) is set:
        target.update(map(key_of, items))
    elif type(target) is not Inert:
        raise PickleError(f"it adds to a {type(target).__name__}")


def _pop(m: Machine) -> None:
    if m.stack:
        m.stack.pop()
    else:
        m.marked()


def _global(m: Machine) -> None:
    module, name = m.line(200).decode(), m.line(200).decode()
    m.name(module, name)


def _stack_global(m: Machine) -> None:
    name, module = m.stack.pop(), m.stack.pop()
    if type(name) is not str or type(module) is not str:
        raise PickleError("a global without a name")
    m.name(module, name)


def _new(m: Machine) -> None:
    m.stack.pop()
    m.make(m.stack.pop())


def _new_extended(m: Machine) -> None:
    m.stack.pop()
    _new(m)


def _instance(m: Machine) -> None:
    _global(m)
    kind = m.stack.pop()
    m.marked()
    m.make(kind)


def _object(m: Machine) -> None:
    m.make(m.marked()[0])


def _get_line(m: Machine) -> None:
    m.get(int(m.line(_MOST_DIGITS)))


def _put_line(m: Machine) -> None:
    m.put(int(m.line(_MOST_DIGITS)))


_MEANING: Mapping[bytes, Callable[[Machine], None]] = {
    b"\x80": _protocol,
    b"\x95": _frame,
    b"N": _constant(None),
    b"\x88": _constant(True),
    b"I": _int_line,
    b"L": _long_line,
    b"F": _float_line,
    b"J": _signed,
    b"M": _integer(2),
    b"\x8a": _long(1),
    b"\x8b": _long(4),
    b"G": _float,
    b"S": _string_line,
    b"T": _text(4, "latin-1"),
    b"U": _text(1, "latin-1"),
    b"V": _unicode_line,
    b"\x8c": _text(1, "utf-8"),
    b"\x8d": _text(8, "utf-8"),
    b"B": _bytes(4),
    b"C": _bytes(1),
    b"\x8e": _bytes(8),
    b")": _constant(()),
    b"]": _empty(list),
    b"}": _empty(dict),
    b"\x8f": _empty(set),
    b"l": _marked_as(list),
    b"d": _dict,
    b"\x91": _marked_as(_frozen),
    b"a": _append,
    b"e": lambda m: m.extend(m.marked()),
    b"s": _set_item,
    b"u": lambda m: m.enter(m.marked()),
    b"\x90": _add_items,
    b"0": _pop,
    b"1": lambda m: m.marked(),
    b"2": lambda m: m.stack.append(m.stack[-1]),
    b"c": _global,
    b"\x93": _stack_global,
    b"\x81": _new,
    b"\x92": _new_extended,
    b"i": _instance,
    b"o": _object,
    b"b": Machine.build,
    b"Q": lambda m: m.persist(m.stack.pop()),
    b"P": lambda m: m.persist(m.line(200).decode()),
    b"g": _get_line,
    b"j": lambda m: m.get(m.unsigned(4)),
    b"p": _put_line,
    b"q": lambda m: m.put(m.unsigned(1)),
    b"r": lambda m: m.put(m.unsigned(4)),
    b"\x94": lambda m: m.put(len(m._memo)),
}
_OPERATIONS = [_MEANING.get(bytes([code]), _unknown) for code in range(256)]
