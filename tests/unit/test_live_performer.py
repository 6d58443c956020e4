"""Smoothing, the neutral face, and the turn that decides unit and signs of angles."""

import math

import numpy as np
import pytest

from headsplat.formats.arkit.names import BLENDSHAPES
from headsplat.live.calibration import (
    ASK_NEUTRAL,
    ASK_TILT,
    Calibration,
    matrix_of_angles,
    unit_of_tilt,
)
from headsplat.live.frame import ArkitFrame, checked_frame
from headsplat.live.options import AS_SENT, InputOptions
from headsplat.live.performer import Performer
from headsplat.live.protocols import AUTO, DEGREES, HALF_TURNS, PROTOCOLS, RADIANS
from headsplat.live.smoothing import FrameFilter, OneEuro

JAW, SMILE = BLENDSHAPES.index("JawOpen"), BLENDSHAPES.index("MouthSmileLeft")
UNITS = {RADIANS: 1.0, DEGREES: math.pi / 180, HALF_TURNS: math.pi}
FPS = 60


def frame(jaw=0.0, smile=0.0, head=(0.0, 0.0, 0.0), unit=RADIANS, mirrored=False) -> ArkitFrame:
    """A frame whose head turns, in radians, are sent in a unit."""
    weights = np.zeros(52)
    weights[[JAW, SMILE]] = jaw, smile
    yaw, pitch, roll = np.array(head) / UNITS[unit] * (np.array([-1, 1, -1]) if mirrored else 1)
    return checked_frame(weights, [yaw, pitch, roll] + [0.0] * 6, pose=True)


def played(calibration, seconds: float, start: float = 0.0, **given) -> ArkitFrame:
    """The last frame after so many seconds of the same one."""
    for k in range(round(seconds * FPS) + 1):
        last = calibration.next(frame(**given), start + k / FPS)
    return last


def test_a_filter_follows_and_stills():
    rng, filtered = np.random.default_rng(0), OneEuro(1.5, 4.0)
    still = np.array([filtered.next(rng.normal(0.5, 0.02, 1), k / FPS)[0] for k in range(300)])
    assert still[60:].std() < 0.4 * 0.02
    fast = [filtered.next(np.array([0.5 + 0.5 * (k >= 0)]), 5 + k / FPS)[0] for k in range(12)]
    assert fast[5] > 0.9  # a jump of 0.5 within a tenth of a second
    raw = OneEuro(0, 4.0)
    assert [raw.next(np.array([v]), k / FPS)[0] for k, v in enumerate((0.1, 0.9))] == [0.1, 0.9]


def test_a_filter_is_that_of_the_paper():
    """Against the formulas written out for one number."""
    rng, filtered = np.random.default_rng(1), OneEuro(1.0, 0.5)
    value = speed = 0.0
    for k in range(40):
        x, step = rng.normal(), 0.02
        if k == 0:
            value = x
        else:
            tau = 1 / (2 * math.pi * 1.0)
            speed += ((x - value) / step - speed) / (1 + tau / step)
            tau = 1 / (2 * math.pi * (1.0 + 0.5 * abs(speed)))
            value += (x - value) / (1 + tau / step)
        assert filtered.next(np.array([x]), k * step)[0] == pytest.approx(value, abs=1e-12)


def test_a_pause_and_a_clock_that_stands_still_break_nothing():
    filtered = OneEuro(1.0, 0.0)
    filtered.next(np.zeros(1), 0.0)
    assert filtered.next(np.ones(1), 10.0)[0] == 1
    assert np.isfinite(filtered.next(np.zeros(1), 10.0)).all()


def test_values_keep_still_without_a_face():
    given = FrameFilter(1.5, 4.0)
    given.next(frame(jaw=0.5), 0.0)
    lost = given.next(ArkitFrame.empty(), 0.1)
    assert not lost.face
    assert lost.weights[JAW] == 0.5


def test_the_neutral_face_becomes_zero_and_the_full_range_stays():
    said = []
    calibration = Calibration(RADIANS, False, say=said.append)
    relaxed = {"jaw": 0.1, "smile": 0.2, "head": (0.1, -0.3, 0.05)}
    last = played(calibration, 1.1, **relaxed)
    assert said == [ASK_NEUTRAL, "calibrated"]
    np.testing.assert_allclose(last.weights, 0, atol=1e-12)
    np.testing.assert_allclose(last.angles, 0, atol=1e-12)
    last = calibration.next(frame(jaw=1.0, smile=0.6), 2.0)
    assert last.weights[[JAW, SMILE]] == pytest.approx([1.0, 0.5])
    assert calibration.next(frame(), 2.1).weights.min() == 0


def test_turns_are_relative_to_the_neutral_pose():
    calibration = Calibration(RADIANS, False)
    played(calibration, 1.1, head=(0.2, -0.4, 0.1))
    now = np.array([0.5, 0.1, -0.3])
    turn = matrix_of_angles(np.array([0.2, -0.4, 0.1])).T @ matrix_of_angles(now)
    got = calibration.next(frame(head=now), 2.0)
    np.testing.assert_allclose(matrix_of_angles(got.angles[:3]), turn, atol=1e-12)


@pytest.mark.parametrize("unit", [RADIANS, DEGREES, HALF_TURNS])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [28, 45, 58])
def test_an_ear_to_the_shoulder_decides_unit_and_signs(unit, mirrored, degrees):
    said = []
    calibration = Calibration(AUTO, None, say=said.append)
    sent = {"unit": unit, "mirrored": mirrored}
    played(calibration, 1.1, head=(0.1, 0.2, 0), **sent)
    assert said[-1] == ASK_TILT
    tilt = (0.1, 0.2, -math.radians(degrees))  # to the left shoulder
    played(calibration, 3.2, 1.2, head=tilt, **sent)
    assert (calibration.unit, calibration.flip) == (unit, mirrored)
    assert said[-1].startswith(f"calibrated: angles are in {unit}")
    got = calibration.next(frame(head=(0.4, 0.2, 0.0), **sent), 5.0)
    assert got.angles[0] == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize("unit", [RADIANS, HALF_TURNS])
def test_a_wrong_angle_does_not_change_a_unit_that_is_settled(unit):
    calibration = Calibration(AUTO, False)
    played(calibration, 1.1, unit=unit)
    played(calibration, 3.2, 1.2, head=(0, 0, -0.8), unit=unit)
    calibration.next(frame(head=(200.0, 0, 0)), 5.0)
    got = calibration.next(frame(head=(0.5, 0, 0), unit=unit), 5.1)
    assert calibration.unit == unit
    assert got.angles[0] == pytest.approx(0.5, abs=1e-6)


def test_no_tilt_decides_nothing_and_is_asked_for_again():
    said = []
    calibration = Calibration(AUTO, False, say=said.append)
    played(calibration, 1.1)
    played(calibration, 3.2, 1.2, head=(0, 0, -0.05))
    assert calibration.unit == RADIANS
    assert said[-1].startswith("no such turn was seen")
    played(calibration, 3.2, 5.0, head=(0, 0, -0.6), unit=DEGREES)
    assert calibration.unit == DEGREES
    assert unit_of_tilt(0.0) is None


def test_angles_beyond_radians_are_degrees_at_once():
    calibration = Calibration(AUTO, False, neutral=False)
    got = calibration.next(frame(head=(0.5, 0, 0), unit=DEGREES), 0.0)
    assert got.angles[0] == pytest.approx(0.5)


def test_only_faces_count_for_the_neutral():
    calibration = Calibration(RADIANS, False)
    for k in range(120):
        calibration.next(ArkitFrame.empty(), k / FPS)
    last = played(calibration, 1.1, 2.0, jaw=0.3)
    assert last.weights[JAW] == pytest.approx(0, abs=1e-12)


def test_a_held_open_mouth_is_no_neutral_face():
    calibration = Calibration(RADIANS, False)
    played(calibration, 1.1, jaw=1.0)
    assert calibration.next(frame(jaw=1.0), 2.0).weights[JAW] == 1.0


def test_the_neutral_face_can_be_taken_again():
    performer = Performer(PROTOCOLS["live-link"], InputOptions(cutoff=0, angles=RADIANS))
    played(performer, 1.1, jaw=0.1)
    assert performer.next(frame(jaw=0.3), 2.0).weights[JAW] > 0.2
    performer.ask()
    assert played(performer, 1.1, 3.0, jaw=0.3).weights[JAW] == pytest.approx(0, abs=1e-12)


def test_protocols_and_options_settle_units():
    for name, protocol in PROTOCOLS.items():
        calibration = Performer(protocol, InputOptions()).calibration
        assert calibration.unit == (RADIANS if name in ("live-link", "vmc") else DEGREES)
    chosen = InputOptions(angles=HALF_TURNS, turns=AS_SENT)
    assert Performer(PROTOCOLS["face-cap"], chosen).calibration.unit == HALF_TURNS
