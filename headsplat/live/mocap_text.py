"""Reader of the text packets of iFacialMocap and Facemotion3D.

    mouthSmile_R-12|jawOpen-40|...|=head#rx,ry,rz,px,py,pz|rightEye#rx,ry,rz|leftEye#rx,ry,rz|

Coefficients are 0 to 100, with `-` or `&` before them, and angles are degrees about x, y and z.
Names that ARKit does not have are skipped.
"""

from headsplat.formats.arkit.names import BLENDSHAPES, arkit_name
from headsplat.live.frame import ANGLES, WEIGHTS, ArkitFrame, BadPacket, checked_frame

_ROWS = {name: row for row, name in enumerate(BLENDSHAPES)}
_JOINTS = {"=head": 0, "leftEye": 3, "rightEye": 6}
_MOST_FIELDS, _LONGEST_NUMBER = 128, 24
_TRACKED = "trackingStatus"


class MocapTextReader:
    """Reads one packet after another; each holds a whole frame."""

    def read(self, packet: bytes) -> ArkitFrame:
        """The frame of a packet.

        Raises:
            BadPacket: it holds no coefficient, too many fields, or a broken number.
        """
        try:
            fields = packet.decode("ascii").split("|", _MOST_FIELDS + 1)
        except UnicodeDecodeError as error:
            raise BadPacket("not ASCII") from error
        if len(fields) > _MOST_FIELDS:
            raise BadPacket(f"more than {_MOST_FIELDS} fields")
        weights, angles = [0.0] * WEIGHTS, [0.0] * ANGLES
        seen, pose, tracked = 0, False, True
        for field in fields:
            joint, mark, numbers = field.partition("#")
            if mark:
                first = _JOINTS.get(joint)
                if first is not None:
                    pitch, yaw, roll = _turn(numbers)
                    angles[first : first + 3] = yaw, pitch, roll
                    pose |= joint == "=head"
                continue
            name, mark, number = field.partition("&" if "&" in field else "-")
            if name == _TRACKED:
                tracked = number != "0"
            row = _ROWS.get(arkit_name(name)) if name else None
            if mark and row is not None:
                weights[row] = _number(number) / 100
                seen += 1
        if not seen:
            raise BadPacket("holds no coefficient")
        return checked_frame(weights, angles, pose) if tracked else ArkitFrame.empty()


def _turn(text: str) -> list[float]:
    numbers = text.split(",", 6)
    if not 3 <= len(numbers) <= 6:
        raise BadPacket("a turn without three angles")
    return [_number(number) for number in numbers[:3]]


def _number(text: str) -> float:
    if len(text) > _LONGEST_NUMBER or not text.isascii() or "_" in text:
        raise BadPacket("a number that is too long")
    try:
        return float(text)
    except ValueError as error:
        raise BadPacket("not a number") from error
