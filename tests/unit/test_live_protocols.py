"""Packets of face capture apps: fields land where they belong, hostile ones are refused."""

import math
import random
import struct

import numpy as np
import pytest
import torch

from headsplat.formats.arkit.names import BLENDSHAPES, ROTATIONS
from headsplat.live.calibration import matrix_of_angles
from headsplat.live.frame import (
    ArkitFrame,
    BadPacket,
    checked_frame,
    from_message,
    to_message,
)
from headsplat.live.protocols import PROTOCOLS, UNITS
from headsplat.rotations import matrix_from_quaternion
from tests.unit.live_packets import (
    FACE_CAP,
    LIVE_LINK,
    NO_TURN,
    live_link,
    live_link_header,
    mocap_text,
    osc,
    osc_bundle,
)

HEAD = ("Head", 0.0, 1.5, 0.0)


def read(protocol: str, *packets: bytes) -> ArkitFrame | None:
    """The last frame of a protocol's packets."""
    reader = PROTOCOLS[protocol].load()()
    return [reader.read(packet) for packet in packets][-1]


def weight(frame: ArkitFrame, name: str) -> float:
    return float(frame.weights[BLENDSHAPES.index(name)])


def angle(frame: ArkitFrame, name: str) -> float:
    return float(frame.angles[ROTATIONS.index(name)])


@pytest.mark.parametrize("name", BLENDSHAPES)
def test_every_coefficient_has_its_place_in_every_protocol(name):
    assert sorted(LIVE_LINK) == sorted(FACE_CAP) == sorted(BLENDSHAPES)
    camel = name[0].lower() + name[1:]
    short = camel.removesuffix("Left") + "_L" if name.endswith("Left") else camel
    if name in ("JawLeft", "MouthLeft"):  # a direction, not a side
        short = camel
    index = FACE_CAP.index(name)
    for protocol, packet in (
        ("live-link", live_link(**{name: 0.5})),
        ("ifacialmocap", mocap_text("-", **{short: 50})),
        ("facemotion3d", mocap_text("&", **{short: 50})),
        ("vmc", osc_bundle(("/VMC/Ext/Blend/Val", camel, 0.5), ("/VMC/Ext/Blend/Apply",))),
        ("face-cap", osc("/W", index, 0.5)),
    ):
        frame = read(protocol, packet)
        assert frame.face, protocol
        expected = np.zeros(len(BLENDSHAPES))
        expected[BLENDSHAPES.index(name)] = 0.5
        np.testing.assert_allclose(frame.weights, expected, err_msg=protocol)


def test_live_link_turns_names_and_size():
    angles = [0.1, -0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    frame = read("live-link", live_link(angles, b"x" * 255, "phöne".encode()))
    np.testing.assert_allclose(frame.angles, angles, rtol=1e-6)
    assert frame.pose
    assert len(live_link(device=b"", subject=b"")) == 270
    assert read("live-link", live_link(device=b"", subject=b"")).face


@pytest.mark.parametrize("packet", [live_link_header(), live_link_header() + b"\0"])
def test_live_link_without_a_face(packet):
    frame = read("live-link", packet)
    assert not frame.face
    assert not frame.weights.any()


def test_coefficients_are_clamped():
    frame = read("live-link", live_link(JawOpen=1.7, MouthClose=-0.4))
    assert (weight(frame, "JawOpen"), weight(frame, "MouthClose")) == (1, 0)
    assert weight(read("ifacialmocap", mocap_text(jawOpen=-12)), "JawOpen") == 0


def test_mocap_turns_are_about_x_y_z():
    frame = read("ifacialmocap", mocap_text(head=(-10, 20, 5), jawOpen=1))
    assert [angle(frame, f"Head{n}") for n in ("Yaw", "Pitch", "Roll")] == [20, -10, 5]
    assert (angle(frame, "LeftEyePitch"), angle(frame, "RightEyeYaw")) == (3, 2)
    lost = mocap_text(jawOpen=50).replace(b"trackingStatus-1", b"trackingStatus-0")
    assert not read("ifacialmocap", lost).face


@pytest.mark.parametrize(
    ("turn", "expected"),
    # Unity is left-handed with y up: +y turns to the performer's right, +x looks down, and +z
    # lays the head towards the left shoulder.
    [((1, 0, 0), (0, 0.3, 0)), ((0, 1, 0), (-0.3, 0, 0)), ((0, 0, 1), (0, 0, -0.3))],
)
def test_vmc_turns_of_unity(turn, expected):
    x, y, z = (math.sin(0.15) * part for part in turn)
    bone = ("/VMC/Ext/Bone/Pos", *HEAD, x, y, z, math.cos(0.15))
    frame = read("vmc", osc(*bone), osc("/VMC/Ext/Blend/Apply"))
    np.testing.assert_allclose(frame.angles[:3], expected, atol=1e-6)


def test_vmc_turns_compose_as_tables_do():
    rng = np.random.default_rng(0)
    for _ in range(20):
        q = rng.normal(size=4) * (1, 0.3, 0.3, 0.3)  # w, x, y, z, not too far
        q = q / np.linalg.norm(q) * np.sign(q[0])
        mirror = np.diag([-1.0, 1, 1])
        expected = mirror @ matrix_from_quaternion(torch.from_numpy(q)).numpy() @ mirror
        bone = ("/VMC/Ext/Bone/Pos", *HEAD, *map(float, q[[1, 2, 3, 0]]))
        frame = read("vmc", osc(*bone), osc("/VMC/Ext/Blend/Apply"))
        np.testing.assert_allclose(matrix_of_angles(frame.angles[:3]), expected, atol=1e-6)


def test_vmc_frames_are_whole_at_apply_and_names_have_any_case():
    reader = PROTOCOLS["vmc"].load()()
    for name in ("JAWOPEN", "mouthSmile_L", "browInnerUp", "Joy", "Blink_L"):
        assert reader.read(osc("/VMC/Ext/Blend/Val", name, 0.25)) is None
    frame = reader.read(osc("/VMC/Ext/Blend/Apply"))
    names = {n for n in BLENDSHAPES if weight(frame, n) == 0.25}
    assert names == {"JawOpen", "MouthSmileLeft", "BrowInnerUp"}
    assert not frame.pose


def test_face_cap_turns():
    frame = read("face-cap", osc("/HR", 10.0, 350.0, 5.0), osc("/ELR", 3.0, 4.0))
    np.testing.assert_allclose(frame.angles, [-10, 10, 5, 4, 3, 0, 0, 0, 0])
    assert frame.pose
    assert read("face-cap", osc("/HT", 1.0, 2.0, 3.0)) is None


NAN, HUGE = float("nan"), 1e30
BONE = b"/VMC/Ext/Bone/Pos\0\0\0"
HOSTILE = {
    "live-link": [
        b"", b"\x05" + live_link()[1:], b"\x06", b"\x06\x00\x00", live_link()[:-1],
        live_link() + b"\0", live_link_header()[:-1], b"\x06" + struct.pack(">i", -1) + b"x" * 300,
        b"\x06" + struct.pack(">i", 2**31 - 1) + b"x" * 300, live_link(device=b"x" * 256),
        live_link(JawOpen=NAN), live_link(JawOpen=math.inf), live_link((NAN, *NO_TURN[1:])),
        live_link((HUGE, *NO_TURN[1:])), b"\x06" + b"\xff" * 2000, live_link_header() + b"\x3d",
        live_link_header() + b"\x3c" + bytes(240), bytes(65507),
    ],
    "ifacialmocap": [
        b"", b"\xff\xfe", b"|" * 2000, b"jawOpen-", b"jawOpen-nan|", b"jawOpen-inf",
        b"jawOpen-1e999", b"jawOpen-" + b"9" * 1000, b"jawOpen-5|=head#1,2",
        b"jawOpen-5|=head#1,2,3,4,5,6,7",
        b"jawOpen-5|=head#1,2,nan", b"jawOpen-5|=head#,,", b"jawOpen-5|=head#1e30,0,0", b"-5|-",
        b"jawOpen-1_0", b"nothing-5", b"=head#1,2,3", b"jawOpen-5|" * 200,
    ],
    "vmc": [
        b"", b"\0", b"/", b"/VMC", b"x\0\0\0", b"/a\0\0,q\0\0", b"/a\0\0,i\0\0\0",
        b"/a\0\0,s\0\0ab", b"/a\0\0i\0\0\0", b"/\xff\0\0", b"#bundle\0",
        b"#bundle\0" + bytes(8) + b"\0",
        # A length of -4 makes other readers loop forever.
        b"#bundle\0" + bytes(8) + struct.pack(">i", -4), b"#bundle\0" + bytes(8) + bytes(4),
        b"#bundle\0" + bytes(8) + struct.pack(">i", 2**31 - 1) + b"/a\0\0",
        (b"#bundle\0" + bytes(8) + struct.pack(">i", 2000)) * 100,
        osc("/VMC/Ext/Blend/Val", "jawOpen", NAN),
        osc("/VMC/Ext/Bone/Pos", *HEAD, 0.0, 0.0, 0.0, 0.0),
        osc("/VMC/Ext/Bone/Pos", *HEAD, NAN, 0.0, 0.0, 1.0),
        osc("/VMC/Ext/Bone/Pos", *HEAD, HUGE, 0.0, 0.0, 1.0), osc("/a", b"blob"),
        BONE + b",sfffffff\0\0\0Head\0\0\0\0" + struct.pack(">7f", *[3e38] * 7),
        BONE + b",sfffdddd\0\0\0Head\0\0\0\0" + struct.pack(">3f4d", *[0] * 3, *[1e300] * 4),
        osc_bundle(*[("/a",)] * 129), osc("/a", *[1] * 17), b"/a\0\0," + b"T" * 1999 + bytes(4),
    ],
    "face-cap": [
        osc("/W", -1, 0.5), osc("/W", 52, 0.5), osc("/W", 3, NAN), osc("/HR", math.inf, 0.0, 0.0),
        osc("/ELR", NAN, 0.0), b"/W\0\0,if\0\0\0\0\1",
    ],
}  # fmt: skip


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("protocol", HOSTILE)
def test_hostile_packets_are_refused(protocol):
    for packet in HOSTILE[protocol]:
        with pytest.raises(BadPacket) as caught:
            raise AssertionError(f"taken: {packet[:40]!r} {read(protocol, packet)}")
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_mutated_packets_give_a_frame_or_are_refused(protocol):
    """Nothing but a frame within its bounds, None, or `BadPacket` comes of any bytes."""
    rng = random.Random(1)
    samples = [
        live_link(JawOpen=0.5), mocap_text(jawOpen=40), mocap_text("&", jawOpen=40),
        osc_bundle(("/VMC/Ext/Blend/Val", "jawOpen", 0.5), ("/VMC/Ext/Blend/Apply",)),
        osc_bundle(("/W", 3, 0.5), ("/HR", 1.0, 2.0, 3.0)), osc("/W", 3, 0.5),
    ]  # fmt: skip
    taken = 0
    for _ in range(1500):
        packet = bytearray(rng.choice(samples))
        for _ in range(rng.randrange(4)):
            packet[rng.randrange(len(packet))] = rng.randrange(256)
        cut = packet[: rng.randrange(len(packet) + 1)] if rng.random() < 0.2 else packet
        try:
            frame = read(protocol, bytes(cut))
        except BadPacket:
            continue
        if frame is not None:
            taken += 1
            assert ((frame.weights >= 0) & (frame.weights <= 1)).all()
            assert (np.abs(frame.angles) <= 360).all()
    assert taken > 50


def test_messages_have_the_documented_layout():
    rng = np.random.default_rng(2)
    frame = checked_frame(rng.random(52), rng.normal(size=9), pose=True)
    message = to_message(frame, 2**32 + 5, 12.25)
    assert len(message) == 4 + 4 + 4 + 8 + 4 + 4 * 61
    assert struct.unpack_from("<4sIIdI", message) == (b"HSLV", 1, 5, 12.25, 3)
    floats = np.frombuffer(message, "<f4", offset=24)
    np.testing.assert_array_equal(floats[:52], frame.weights.astype("<f4"))
    again, sequence, seconds = from_message(message)
    np.testing.assert_allclose(again.angles, frame.angles, rtol=1e-6)
    assert (sequence, seconds, again.face, again.pose) == (5, 12.25, True, True)
    assert not from_message(to_message(ArkitFrame.empty(), 0, 0.0))[0].face
    for broken in (b"", message[:-1], b"X" + message[1:], message + b"\0"):
        with pytest.raises(BadPacket):
            from_message(broken)


def test_units_are_known():
    assert all(protocol.angles in UNITS for protocol in PROTOCOLS.values())
