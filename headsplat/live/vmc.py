"""Reader of the VMC protocol 3.1 (Virtual Motion Capture), of which face and head are used.

    /VMC/Ext/Blend/Val (string name, float), /VMC/Ext/Blend/Apply
    /VMC/Ext/Bone/Pos (string bone, float x 7: position, then the turn as x, y, z, w)

ARKit's names may have any case, with or without an underscore. Unity's axes are left-handed, with y
up and z ahead, so that their x points to the performer's right: here it points to the left.
"""

import math

from headsplat.formats.arkit.names import BLENDSHAPES
from headsplat.live.frame import ANGLES, WEIGHTS, ArkitFrame, BadPacket, checked_frame
from headsplat.live.osc import messages

_VALUE, _APPLY, _BONE = "/VMC/Ext/Blend/Val", "/VMC/Ext/Blend/Apply", "/VMC/Ext/Bone/Pos"
_JOINTS = {"Head": 0, "LeftEye": 3, "RightEye": 6}
_TYPES = (str, *[float] * 7)


def _spellings() -> dict[str, int]:
    """Lower-case names without underscores -> rows; sides may be written as one letter."""
    rows = {name.lower(): row for row, name in enumerate(BLENDSHAPES)}
    short = {}
    for side, letter in (("left", "_l"), ("right", "_r")):
        short |= {n.removesuffix(side) + letter: r for n, r in rows.items() if n.endswith(side)}
    return rows | short


_ROWS = _spellings()


class VmcReader:
    """Reads messages that may be spread over packets; a frame is whole at `Apply`."""

    def __init__(self) -> None:
        self._weights, self._angles = [0.0] * WEIGHTS, [0.0] * ANGLES
        self._posed = False

    def read(self, packet: bytes) -> ArkitFrame | None:
        """The frame that a packet completes, or None.

        Raises:
            BadPacket: the packet is broken; what came before counts.
        """
        complete = False
        for message in messages(packet):
            if message.matches(_VALUE, (str, float)):
                name, value = message.arguments[:2]
                self._put(str(name), float(value))
            elif message.matches(_BONE, _TYPES) and message.arguments[0] in _JOINTS:
                first = _JOINTS[str(message.arguments[0])]
                turn = [float(value) for value in message.arguments[4:8]]
                self._angles[first : first + 3] = angles_of_unity(turn)
                self._posed |= first == 0
            complete |= message.address == _APPLY
        return checked_frame(self._weights, self._angles, self._posed) if complete else None

    def _put(self, name: str, value: float) -> None:
        if not math.isfinite(value):
            raise BadPacket("a coefficient that is not finite")
        key = name.lower()
        row = _ROWS.get(key, _ROWS.get(key.replace("_", "")))
        if row is not None:
            self._weights[row] = value


def angles_of_unity(quaternion: list[float]) -> tuple[float, float, float]:
    """Yaw, pitch and roll in radians of Unity's (x, y, z, w), in the head's axes.

    Raises:
        BadPacket: it is no rotation.
    """
    length = math.hypot(*quaternion)
    if not 0.5 < length < 2:
        raise BadPacket("a quaternion that is no rotation")
    # Seen in a mirror across x.
    x, y, z, w = (s * v / length for s, v in zip((1, -1, -1, 1), quaternion, strict=True))
    yaw = math.atan2(2 * (x * z + w * y), 1 - 2 * (x * x + y * y))
    pitch = -math.asin(min(1.0, max(-1.0, 2 * (y * z - w * x))))
    roll = math.atan2(2 * (x * y + w * z), 1 - 2 * (x * x + z * z))
    return yaw, pitch, roll
