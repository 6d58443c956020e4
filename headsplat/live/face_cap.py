"""Reader of Face Cap's live mode: OSC messages with coefficients by number and turns in degrees.

    /W (int index, float), /HR (float x 3: about x, y, z), /ELR and /ERR (float x 2: about x, y)

`/HRQ` repeats `/HR` as a quaternion, and `/HT` is the head's place; neither is used.
"""

import math

from headsplat.formats.arkit.names import BLENDSHAPES
from headsplat.live.frame import ANGLES, WEIGHTS, ArkitFrame, BadPacket, checked_frame
from headsplat.live.osc import Message, messages


def _both(*names: str) -> tuple[str, ...]:
    return tuple(name + side for name in names for side in ("Left", "Right"))


# The order of its indices.
FACE_CAP = (
    "BrowInnerUp", *_both("BrowDown", "BrowOuterUp", "EyeLookUp", "EyeLookDown", "EyeLookIn",
    "EyeLookOut", "EyeBlink", "EyeSquint", "EyeWide"), "CheekPuff",
    *_both("CheekSquint", "NoseSneer"), "JawOpen", "JawForward", "JawLeft", "JawRight",
    "MouthFunnel", "MouthPucker", "MouthLeft", "MouthRight", "MouthRollUpper", "MouthRollLower",
    "MouthShrugUpper", "MouthShrugLower", "MouthClose", *_both("MouthSmile", "MouthFrown",
    "MouthDimple", "MouthUpperUp", "MouthLowerDown", "MouthPress", "MouthStretch"), "TongueOut",
)  # fmt: skip
_ROWS = [BLENDSHAPES.index(name) for name in FACE_CAP]
_EYES = {"/ELR": 3, "/ERR": 6}


class FaceCapReader:
    """Reads messages that are spread over packets; each packet that changes anything is a frame."""

    def __init__(self) -> None:
        self._weights, self._angles = [0.0] * WEIGHTS, [0.0] * ANGLES
        self._posed = False

    def read(self, packet: bytes) -> ArkitFrame | None:
        """The frame after a packet, or None if it holds nothing of the face.

        Raises:
            BadPacket: the packet is broken, or an index is not one of 52.
        """
        changed = [self._take(message) for message in messages(packet)]
        if not any(changed):
            return None
        return checked_frame(self._weights, self._angles, self._posed)

    def _take(self, message: Message) -> bool:
        if message.matches("/W", (int, float)):
            index, value = message.arguments[:2]
            if not 0 <= index < WEIGHTS or not math.isfinite(value):
                raise BadPacket(f"coefficient {index} is {value}")
            self._weights[_ROWS[index]] = float(value)
            return True
        if message.matches("/HR", (float, float, float)):
            self._turn(0, message.arguments[:3])
            self._posed = True
            return True
        if message.address in _EYES and message.matches(message.address, (float, float)):
            self._turn(_EYES[message.address], (*message.arguments[:2], 0.0))
            return True
        return False

    def _turn(self, first: int, given: tuple) -> None:
        if not all(math.isfinite(value) for value in given):
            raise BadPacket("an angle that is not finite")
        # Unity's angles may be given as 0 to 360.
        pitch, yaw, roll = (math.remainder(value, 360.0) for value in given)
        self._angles[first : first + 3] = yaw, pitch, roll
