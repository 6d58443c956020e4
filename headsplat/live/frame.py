"""One row of ARKit's coefficients while somebody performs, and the message that carries it.

Message, little-endian: "HSLV", u32 version 1, u32 sequence, f64 seconds, u32 flags (bit 0: a face
was seen, bit 1: the head's pose is valid), f32 x 52 coefficients in 0..1, f32 x 9 angles in
radians. The order is that of `BLENDSHAPES` and `ROTATIONS`.
"""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headsplat.formats.arkit.names import BLENDSHAPES, ROTATIONS

WEIGHTS, ANGLES = len(BLENDSHAPES), len(ROTATIONS)
# Beyond that an angle is broken in any unit: degrees of a full turn.
_LARGEST = 360.0
_MESSAGE = struct.Struct(f"<4sIIdI{WEIGHTS + ANGLES}f")
_MAGIC, _VERSION = b"HSLV", 1
_FACE, _POSE = 1, 2


class BadPacket(ValueError):
    """A packet that is not of its protocol; it is dropped and counted."""


@dataclass(frozen=True, eq=False)
class ArkitFrame:
    """What a phone saw at one time.

    Attributes:
        weights: (52,) float64 coefficients in 0..1, in the order of `BLENDSHAPES`.
        angles: (9,) float64, in the order of `ROTATIONS`: yaw, pitch and roll of the head, the left
            and the right eye. In the sender's unit, radians once the performer is calibrated.
        face: whether a face was seen.
        pose: whether the head's angles are known.
    """

    weights: np.ndarray
    angles: np.ndarray
    face: bool = True
    pose: bool = True

    @classmethod
    def empty(cls) -> "ArkitFrame":
        """A frame without a face."""
        return cls(np.zeros(WEIGHTS), np.zeros(ANGLES), face=False, pose=False)


def checked_frame(weights: Sequence[float], angles: Sequence[float], pose: bool) -> ArkitFrame:
    """A frame of numbers from a packet, coefficients clamped to 0..1.

    Raises:
        BadPacket: a number is not finite, or an angle is beyond a full turn in any unit.
    """
    given, turns = np.array(weights, np.float64), np.array(angles, np.float64)
    if not (np.isfinite(given).all() and np.isfinite(turns).all()):
        raise BadPacket("a number is not finite")
    if np.abs(turns).max() > _LARGEST:
        raise BadPacket("an angle is beyond a full turn")
    return ArkitFrame(given.clip(0, 1), turns, pose=pose)


def to_message(frame: ArkitFrame, sequence: int, seconds: float) -> bytes:
    """The message of a frame.

    Args:
        frame: with angles in radians.
        sequence: of the message; it wraps at 2^32.
        seconds: when it was seen, on the sender's clock.
    """
    flags = _FACE * frame.face + _POSE * frame.pose
    head = (_MAGIC, _VERSION, sequence % (1 << 32), seconds, flags)
    return _MESSAGE.pack(*head, *frame.weights, *frame.angles)


def from_message(message: bytes) -> tuple[ArkitFrame, int, float]:
    """Frame, sequence and seconds of a message.

    Raises:
        BadPacket: it is no such message.
    """
    if len(message) != _MESSAGE.size:
        raise BadPacket(f"{len(message)} bytes, expected {_MESSAGE.size}")
    magic, version, sequence, seconds, flags, *numbers = _MESSAGE.unpack(message)
    if (magic, version) != (_MAGIC, _VERSION) or not math.isfinite(seconds):
        raise BadPacket("not a message of this version")
    frame = checked_frame(numbers[:WEIGHTS], numbers[WEIGHTS:], bool(flags & _POSE))
    seen = ArkitFrame(frame.weights, frame.angles, bool(flags & _FACE), frame.pose)
    return seen, sequence, seconds
