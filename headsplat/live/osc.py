"""Reader of Open Sound Control 1.0: packets to messages, every length checked before it is used.

python-osc's reader is not used: a bundle element of length -4 makes it loop forever.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from headsplat.live.frame import BadPacket

Argument = int | float | str
_BUNDLE = b"#bundle\0"
_TIME_TAG = 8
_DEEPEST = 4  # bundles within bundles
_MOST_MESSAGES, _MOST_ARGUMENTS = 128, 16  # of a packet, of a message
_FIXED = {"i": struct.Struct(">i"), "f": struct.Struct(">f"), "d": struct.Struct(">d")}
_SIZE = _FIXED["i"]


@dataclass(frozen=True)
class Message:
    """An address such as "/VMC/Ext/Blend/Val", and its arguments."""

    address: str
    arguments: tuple[Argument, ...]

    def matches(self, address: str, types: tuple[type, ...]) -> bool:
        """Whether it has this address, and begins with arguments of these types."""
        given = self.arguments[: len(types)]
        return (
            self.address == address
            and len(given) == len(types)
            and all(isinstance(a, t) for a, t in zip(given, types, strict=True))
        )


def messages(packet: bytes) -> Iterator[Message]:
    """Messages of a packet or bundle, in order; time tags are ignored.

    Raises:
        BadPacket: a length, type or text is broken, bundles are nested too deeply, or there are too
            many messages or arguments.
    """
    for number, message in enumerate(_messages(packet, 0)):
        if number >= _MOST_MESSAGES:
            raise BadPacket(f"more than {_MOST_MESSAGES} messages")
        yield message


def _messages(packet: bytes, depth: int) -> Iterator[Message]:
    if not packet.startswith(_BUNDLE):
        yield _message(packet)
        return
    if depth >= _DEEPEST:
        raise BadPacket("bundles within bundles")
    place = len(_BUNDLE) + _TIME_TAG
    if place > len(packet):
        raise BadPacket("ends within a time tag")
    while place < len(packet):
        if place + _SIZE.size > len(packet):
            raise BadPacket("ends within a length")
        (length,) = _SIZE.unpack_from(packet, place)
        place += _SIZE.size
        if not 0 < length <= len(packet) - place:
            raise BadPacket(f"an element of {length} bytes")
        yield from _messages(packet[place : place + length], depth + 1)
        place += length


def _message(packet: bytes) -> Message:
    address, place = _text(packet, 0)
    if not address.startswith("/"):
        raise BadPacket("not an OSC address")
    if place == len(packet):
        return Message(address, ())
    types, place = _text(packet, place)
    if not types.startswith(","):
        raise BadPacket("no types before the arguments")
    if len(types) > 1 + _MOST_ARGUMENTS:
        raise BadPacket(f"more than {_MOST_ARGUMENTS} arguments")
    arguments: list[Argument] = []
    for kind in types[1:]:
        if kind == "s":
            text, place = _text(packet, place)
            arguments.append(text)
        elif kind in _FIXED:
            form = _FIXED[kind]
            if place + form.size > len(packet):
                raise BadPacket("ends within its arguments")
            arguments += form.unpack_from(packet, place)
            place += form.size
        elif kind in "TF":
            arguments.append(int(kind == "T"))
        else:
            raise BadPacket(f"an argument of type {kind!r}")
    return Message(address, tuple(arguments))


def _text(packet: bytes, place: int) -> tuple[str, int]:
    """A text that ends with a zero byte, and where its padding to 4 bytes ends."""
    end = packet.find(b"\0", place)
    if end < 0:
        raise BadPacket("a text without an end")
    try:
        text = packet[place:end].decode()
    except UnicodeDecodeError as error:
        raise BadPacket("a text that is not UTF-8") from error
    after = place + (end - place) // 4 * 4 + 4
    if after > len(packet):
        raise BadPacket("a text without its padding")
    return text, after
