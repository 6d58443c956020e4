"""Registry of the protocols that face capture apps speak. A new one is one module and one line.

Importing this module imports no reader.
"""

from dataclasses import dataclass

from headsplat.registry import Plugin, Registry

# Units of angles; `HALF_TURNS` are degrees over 180.
AUTO, RADIANS, DEGREES, HALF_TURNS = "auto", "radians", "degrees", "half-turns"
UNITS = (AUTO, RADIANS, DEGREES, HALF_TURNS)
RATE = 240  # packets a second
# Of senders that put every message in a packet of its own: 60 frames of up to 100 messages.
_SPLIT_RATE = 6000
_IFACIALMOCAP = b"iFacialMocap_sahuasouryya9218sauhuiayeta91555dy3719"


@dataclass(frozen=True)
class Protocol(Plugin):
    """A protocol; the target is a class with `read(packet) -> ArkitFrame | None`.

    `read` raises `BadPacket` for packets that are not of the protocol.

    Attributes:
        port: UDP port that it listens on.
        angles: unit of the head's angles, or `AUTO` where it is unsettled.
        signs: whether the signs of the head's angles are settled.
        rate: most packets a second; further ones are dropped.
        greeting: what the phone must be sent before it sends anything; empty if nothing.
        phone_port: UDP port of the phone for the greeting.
    """

    port: int
    angles: str
    signs: bool = True
    rate: int = RATE
    greeting: bytes = b""
    phone_port: int = 0


PROTOCOLS: Registry[Protocol] = Registry(
    "protocol",
    {
        "live-link": Protocol(
            "headsplat.live.live_link_udp:LiveLinkReader", "Live Link Face", 11111, AUTO
        ),
        "vmc": Protocol(
            "headsplat.live.vmc:VmcReader", "a VMC app", 39539, RADIANS, rate=_SPLIT_RATE
        ),
        "ifacialmocap": Protocol(
            "headsplat.live.mocap_text:MocapTextReader",
            "iFacialMocap",
            49983,
            DEGREES,
            signs=False,
            greeting=_IFACIALMOCAP,
            phone_port=49983,
        ),
        "facemotion3d": Protocol(
            "headsplat.live.mocap_text:MocapTextReader",
            "Facemotion3D",
            49993,
            DEGREES,
            signs=False,
            greeting=b"FACEMOTION3D_OtherStreaming",
            phone_port=49993,
        ),
        "face-cap": Protocol(
            "headsplat.live.face_cap:FaceCapReader",
            "Face Cap",
            8080,
            DEGREES,
            signs=False,
            rate=_SPLIT_RATE,
        ),
    },
)
