"""Opcode table of the restricted unpickler; for the opcodes' meaning see `pickletools.opcodes`."""

import codecs
import struct
from collections.abc import Callable, Mapping
from typing import Any

from headsplat.runtime.pickles.interpreter import Interpreter
from headsplat.runtime.pickles.limits import checked_key
from headsplat.runtime.pickles.placeholders import IgnoredObject, PickleError

# Bytes of a binary integer, and characters of a number written as text.
_LONGEST_INT, _MOST_DIGITS = 16, 40


def _unknown(machine: Interpreter) -> None:
    code = machine.data[machine.at - 1]
    raise PickleError(f"byte {machine.at - 1} ({code:#04x}) is not a supported opcode")


def _protocol(m: Interpreter) -> None:
    if m.unsigned(1) > 5:
        raise PickleError("unknown pickle protocol")


def _frame(m: Interpreter) -> None:
    size = m.unsigned(8)
    if size > len(m.data) - m.at:
        raise PickleError("it ends too early")


def _constant(value: Any) -> Callable[[Interpreter], None]:
    return lambda m: m.stack.append(value)


def _empty(kind: type) -> Callable[[Interpreter], None]:
    return lambda m: m.stack.append(kind())


def _integer(size: int) -> Callable[[Interpreter], None]:
    return lambda m: m.stack.append(m.unsigned(size))


def _signed(m: Interpreter) -> None:
    m.stack.append(int.from_bytes(m.read(4), "little", signed=True))


def _long(size: int) -> Callable[[Interpreter], None]:
    def read(m: Interpreter) -> None:
        count = m.unsigned(size)
        if count > _LONGEST_INT:
            raise PickleError(f"an integer of {count} bytes")
        m.stack.append(int.from_bytes(m.read(count), "little", signed=True))

    return read


def _int_line(m: Interpreter) -> None:
    text = m.line(_MOST_DIGITS)
    # Protocol 0 writes booleans as the integers 00 and 01.
    m.stack.append(text == b"01" if text in (b"00", b"01") else int(text))


def _long_line(m: Interpreter) -> None:
    m.stack.append(int(m.line(_MOST_DIGITS).rstrip(b"L")))


def _float_line(m: Interpreter) -> None:
    m.stack.append(float(m.line(_MOST_DIGITS)))


def _float(m: Interpreter) -> None:
    m.stack.append(struct.unpack(">d", m.read(8))[0])


def _string_line(m: Interpreter) -> None:
    text = m.line()
    if len(text) < 2 or text[:1] != text[-1:] or text[:1] not in (b"'", b'"'):
        raise PickleError("a string without its quotes")
    m.stack.append(codecs.escape_decode(text[1:-1])[0].decode("latin-1"))


def _unicode_line(m: Interpreter) -> None:
    m.stack.append(m.line().decode("raw-unicode-escape"))


def _text(size: int, coding: str) -> Callable[[Interpreter], None]:
    def read(m: Interpreter) -> None:
        data, start = m.data, m.at + size
        end = start + int.from_bytes(data[m.at : start], "little")
        if end > len(data):
            raise PickleError("it ends too early")
        m.stack.append(str(data[start:end], coding))
        m.at = end

    return read


def _bytes(size: int) -> Callable[[Interpreter], None]:
    return lambda m: m.stack.append(bytes(m.read(m.unsigned(size))))


def _marked_as(kind: Callable[[list[Any]], Any]) -> Callable[[Interpreter], None]:
    def gather(m: Interpreter) -> None:
        items = m.pop_mark()
        m.stack.append(kind(items))

    return gather


def _frozen(items: list[Any]) -> frozenset:
    return frozenset(map(checked_key, items))


def _dict(m: Interpreter) -> None:
    items = m.pop_mark()
    m.stack.append({})
    m.set_items(items)


def _append(m: Interpreter) -> None:
    value = m.stack.pop()
    m.extend([value])


def _set_item(m: Interpreter) -> None:
    value, key = m.stack.pop(), m.stack.pop()
    m.set_items([key, value])


def _add_items(m: Interpreter) -> None:
    items, target = m.pop_mark(), m.stack[-1]
    if type(target) is set:
        target.update(map(checked_key, items))
    elif type(target) is not IgnoredObject:
        raise PickleError(f"it adds to a {type(target).__name__}")


def _pop(m: Interpreter) -> None:
    if m.stack:
        m.stack.pop()
    else:
        m.pop_mark()


def _global(m: Interpreter) -> None:
    module, name = m.line(200).decode(), m.line(200).decode()
    m.push_global(module, name)


def _stack_global(m: Interpreter) -> None:
    name, module = m.stack.pop(), m.stack.pop()
    if type(name) is not str or type(module) is not str:
        raise PickleError("a global without a name")
    m.push_global(module, name)


def _new(m: Interpreter) -> None:
    m.stack.pop()
    m.push_object(m.stack.pop())


def _new_extended(m: Interpreter) -> None:
    m.stack.pop()
    _new(m)


def _instance(m: Interpreter) -> None:
    _global(m)
    kind = m.stack.pop()
    m.pop_mark()
    m.push_object(kind)


def _object(m: Interpreter) -> None:
    m.push_object(m.pop_mark()[0])


def _get_line(m: Interpreter) -> None:
    m.get(int(m.line(_MOST_DIGITS)))


def _put_line(m: Interpreter) -> None:
    m.put(int(m.line(_MOST_DIGITS)))


_MEANING: Mapping[bytes, Callable[[Interpreter], None]] = {
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
    b"e": lambda m: m.extend(m.pop_mark()),
    b"s": _set_item,
    b"u": lambda m: m.set_items(m.pop_mark()),
    b"\x90": _add_items,
    b"0": _pop,
    b"1": lambda m: m.pop_mark(),
    b"2": lambda m: m.stack.append(m.stack[-1]),
    b"c": _global,
    b"\x93": _stack_global,
    b"\x81": _new,
    b"\x92": _new_extended,
    b"i": _instance,
    b"o": _object,
    b"b": Interpreter.apply_state,
    b"Q": lambda m: m.push_persistent(m.stack.pop()),
    b"P": lambda m: m.push_persistent(m.line(200).decode()),
    b"g": _get_line,
    b"j": lambda m: m.get(m.unsigned(4)),
    b"p": _put_line,
    b"q": lambda m: m.put(m.unsigned(1)),
    b"r": lambda m: m.put(m.unsigned(4)),
    b"\x94": Interpreter.memoize,
}


class PickleInterpreter(Interpreter):
    """An `Interpreter` with handlers for all supported opcodes."""

    operations = tuple(_MEANING.get(bytes([code]), _unknown) for code in range(256))
