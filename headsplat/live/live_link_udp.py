"""Reader of Live Link Face's packets, version 6; numbers are big-endian.

    u8 version | i32 n, n bytes device | i32 m, m bytes subject | i32 frame, f32 part of it,
    i32 and i32 rate | u8 count 61, 61 x f32

Without a face the packet ends before the count, or the count is 0. The order of the coefficients is
the engine's, in which `JawLeft` precedes `JawRight` and `MouthLeft` precedes `MouthRight`.
"""

import struct

from headsplat.formats.arkit.names import BLENDSHAPES, ROTATIONS
from headsplat.live.frame import WEIGHTS, ArkitFrame, BadPacket, checked_frame

VERSION = 6
_SWAPPED = {
    "JawRight": "JawLeft", "JawLeft": "JawRight",
    "MouthRight": "MouthLeft", "MouthLeft": "MouthRight",
}  # fmt: skip
UDP_BLENDSHAPES = tuple(_SWAPPED.get(name, name) for name in BLENDSHAPES)
_COLUMNS = [UDP_BLENDSHAPES.index(name) for name in BLENDSHAPES]
_NUMBERS = struct.Struct(f">{WEIGHTS + len(ROTATIONS)}f")
_LENGTH = struct.Struct(">i")
_TIME = 16  # bytes
_LONGEST_NAME = 255  # bytes


class LiveLinkReader:
    """Reads packets of Live Link Face in its mode "Live Link (ARKit)"."""

    def read(self, packet: bytes) -> ArkitFrame:
        """The frame of a packet.

        Raises:
            BadPacket: another version or mode, or broken.
        """
        if not packet or packet[0] != VERSION:
            raise BadPacket(f"not version {VERSION} of Live Link")
        place = 1
        for _ in range(2):  # device, subject
            place = _after_name(packet, place)
        place += _TIME
        if place > len(packet):
            raise BadPacket("ends within its time")
        if place == len(packet) or packet[place:] == b"\0":
            return ArkitFrame.empty()
        count, numbers = packet[place], packet[place + 1 :]
        if count != WEIGHTS + len(ROTATIONS) or len(numbers) != _NUMBERS.size:
            raise BadPacket(f"{count} numbers in {len(numbers)} bytes, expected 61")
        values = _NUMBERS.unpack(numbers)
        weights = [values[column] for column in _COLUMNS]
        return checked_frame(weights, values[WEIGHTS:], pose=True)


def _after_name(packet: bytes, place: int) -> int:
    """Where a length and so many bytes end."""
    if place + _LENGTH.size > len(packet):
        raise BadPacket("ends within a name")
    (length,) = _LENGTH.unpack_from(packet, place)
    if not 0 <= length <= _LONGEST_NAME:
        raise BadPacket(f"a name of {length} bytes")
    return place + _LENGTH.size + length
