"""The opcodes of pickles by their byte; `pickletools.opcodes` has their meaning at length."""

import codecs
import struct
from collections.abc import Callable, Mapping
from typing import Any

from headsplat.runtime.pickles.machine import Machine, key_of
from headsplat.runtime.pickles.nodes import Inert, PickleError

# Bytes and digits of an integer, characters of any other number.
_LONGEST_INT, _MOST_DIGITS = 16, 40


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
    # GroundTruth values are integers with a zero in front.
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
    b"\x94": Machine.memoize,
}


class PickleMachine(Machine):
    """A machine for all opcodes that are read."""

    operations = tuple(_MEANING.get(bytes([code]), _unknown) for code in range(256))
