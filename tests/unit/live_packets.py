"""Packets of face capture apps, built from the documented layouts, and a sender of them."""

import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

# Spelled out here, so that a wrong order in the library is seen. The engine's order: Left first.
LIVE_LINK = """
EyeBlinkLeft EyeLookDownLeft EyeLookInLeft EyeLookOutLeft EyeLookUpLeft EyeSquintLeft EyeWideLeft
EyeBlinkRight EyeLookDownRight EyeLookInRight EyeLookOutRight EyeLookUpRight EyeSquintRight
EyeWideRight JawForward JawLeft JawRight JawOpen MouthClose MouthFunnel MouthPucker MouthLeft
MouthRight MouthSmileLeft MouthSmileRight MouthFrownLeft MouthFrownRight MouthDimpleLeft
MouthDimpleRight MouthStretchLeft MouthStretchRight MouthRollLower MouthRollUpper MouthShrugLower
MouthShrugUpper MouthPressLeft MouthPressRight MouthLowerDownLeft MouthLowerDownRight
MouthUpperUpLeft MouthUpperUpRight BrowDownLeft BrowDownRight BrowInnerUp BrowOuterUpLeft
BrowOuterUpRight CheekPuff CheekSquintLeft CheekSquintRight NoseSneerLeft NoseSneerRight TongueOut
"""
FACE_CAP = """
BrowInnerUp BrowDownLeft BrowDownRight BrowOuterUpLeft BrowOuterUpRight EyeLookUpLeft EyeLookUpRight
EyeLookDownLeft EyeLookDownRight EyeLookInLeft EyeLookInRight EyeLookOutLeft EyeLookOutRight
EyeBlinkLeft EyeBlinkRight EyeSquintLeft EyeSquintRight EyeWideLeft EyeWideRight CheekPuff
CheekSquintLeft CheekSquintRight NoseSneerLeft NoseSneerRight JawOpen JawForward JawLeft JawRight
MouthFunnel MouthPucker MouthLeft MouthRight MouthRollUpper MouthRollLower MouthShrugUpper
MouthShrugLower MouthClose MouthSmileLeft MouthSmileRight MouthFrownLeft MouthFrownRight
MouthDimpleLeft MouthDimpleRight MouthUpperUpLeft MouthUpperUpRight MouthLowerDownLeft
MouthLowerDownRight MouthPressLeft MouthPressRight MouthStretchLeft MouthStretchRight TongueOut
"""
LIVE_LINK, FACE_CAP = LIVE_LINK.split(), FACE_CAP.split()
NO_TURN = (0.0,) * 9


def live_link(
    angles: Sequence[float] = NO_TURN, device: bytes = b"A1B2", subject: bytes = b"phone", **weights
) -> bytes:
    """A packet with a face; `angles` are yaw, pitch and roll of head, left and right eye."""
    numbers = [weights.pop(name, 0.0) for name in LIVE_LINK]
    assert not weights
    return live_link_header(device, subject) + struct.pack(">B61f", 61, *numbers, *angles)


def live_link_header(device: bytes = b"A1B2", subject: bytes = b"phone") -> bytes:
    """A packet up to its count, as it is sent without a face."""
    names = b"".join(struct.pack(">i", len(name)) + name for name in (device, subject))
    return b"\x06" + names + struct.pack(">ifii", 7, 0.25, 60, 1)


def mocap_text(mark: str = "-", head: Sequence[float] = (0, 0, 0), **percent) -> bytes:
    """A packet of iFacialMocap (`-`) or Facemotion3D (`&`); turns are about x, y, z in degrees."""
    fields = [f"{name}{mark}{value}" for name, value in percent.items()]
    turn = ",".join(f"{value:.3f}" for value in head)
    joints = [f"=head#{turn},0.1,0.2,0.3", "rightEye#1.0,2.0,0.0", "leftEye#3.0,4.0,0.0"]
    return "|".join([f"trackingStatus{mark}1", *fields, "hapihapi-0", *joints, ""]).encode()


def osc(address: str, *arguments: object) -> bytes:
    """One OSC message."""
    return _built(address, *arguments).dgram


def osc_bundle(*messages: tuple) -> bytes:
    """A bundle of (address, *arguments)."""
    from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder

    bundle = OscBundleBuilder(IMMEDIATELY)
    for address, *arguments in messages:
        bundle.add_content(_built(address, *arguments))
    return bundle.build().dgram


def _built(address: str, *arguments: object):
    """A message of python-osc, which the benchmark of Live Link's packets does without."""
    from pythonosc.osc_message_builder import OscMessageBuilder

    builder = OscMessageBuilder(address)
    for argument in arguments:
        builder.add_arg(argument)
    return builder.build()


@contextmanager
def sender(port: int, address: str = "127.0.0.1") -> Iterator:
    """A function that sends packets to a port of this machine from an own address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind((address, 0))
        yield lambda packet: made.sendto(packet, ("127.0.0.1", port))


def free_port() -> int:
    """A UDP port of this machine that nobody uses."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]
