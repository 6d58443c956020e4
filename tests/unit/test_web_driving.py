"""What the page makes of ARKit's coefficients, against the library's own mapping."""

import json

import numpy as np
import pytest
import torch

from headsplat.drive.arkit_motion import read_arkit
from headsplat.drive.kinds import ABSOLUTE, MotionOptions
from headsplat.drive.trunk_motion import TrunkFollower
from headsplat.formats.arkit.names import BLENDSHAPES, ROTATIONS
from headsplat.frame_code import FrameCode
from headsplat.live.calibration import Calibration
from headsplat.live.driving import LiveDriver
from headsplat.live.frame import ArkitFrame
from headsplat.live.smoothing import OneEuro
from headsplat.rotations import matrix_from_axis_angle
from tests.browser import needs_chromium
from tests.unit.driven import ARKIT_SHAPES, make_avatar
from tests.unit.live_link import write_table
from tests.unit.web_page import HEAD, SUBJECT, TRACK, clip_motion, served, small_payload

pytestmark = needs_chromium
ROWS = 80
E = len(ARKIT_SHAPES)
# The subject's own page is not started: only its modules are used.
SETUP = """
const load = (name) => import(`/${name}.js`);
const { readPayload } = await load("payload");
const payload = await readPayload(await (await fetch("/avatar.hswb")).arrayBuffer());
const driving = await load("driving");
const subject = driving.subjectOf(payload);
"""


@pytest.fixture(scope="module")
def page(browser):
    return browser.page(browser.serve(served(small_payload())) + "/style.css")


def run(page, body, **values):
    """What a function body returns, with the subject and JSON values at hand."""
    names = "".join(f"const {name} = {json.dumps(value)};" for name, value in values.items())
    return page.run(f"(async () => {{ {SETUP} {names} {body} }})()")


def rows(seed, low=0.0, high=1.0):
    """(ROWS, 52) coefficients and (ROWS, 3) head angles."""
    rng = np.random.default_rng(seed)
    return rng.uniform(low, high, (ROWS, 52)), rng.uniform(-0.6, 0.6, (ROWS, 3))


def mapped(page, weights, angles, how):
    """Codes, rotations and translations as the page computes them."""
    found = run(
        page,
        f"""const map = {how};
        return rows.map((row, k) => {{
          const {{ code, pose }} = map(row, angles[k]);
          return [Array.from(code), Array.from(pose.R), pose.t];
        }});""",
        rows=weights.tolist(),
        angles=angles.tolist(),
    )
    codes, turns, places = (np.array(part) for part in zip(*found, strict=True))
    return codes, turns.reshape(-1, 3, 3), places


def test_rows_are_mapped_as_the_library_maps_a_table(page, tmp_path):
    weights, angles = rows(1, -0.2, 1.2)
    table = [
        dict(zip((*BLENDSHAPES, *ROTATIONS[:3]), (*w, *a), strict=True))
        for w, a in zip(weights.tolist(), angles.tolist(), strict=True)
    ]
    motion = read_arkit(
        write_table(tmp_path / "take.csv", table), SUBJECT, MotionOptions(ABSOLUTE, face=ABSOLUTE)
    )
    codes, turns, places = mapped(
        page, weights, angles, "(row, angles) => driving.arkitToCode(subject, row, angles)"
    )
    np.testing.assert_allclose(codes, motion.condition, atol=1e-6)
    np.testing.assert_allclose(turns, motion.rotation, atol=1e-6)
    np.testing.assert_allclose(places, motion.translation, atol=1e-6)
    # Some of the turns are beyond the clip's range.
    assert np.abs(turns - SUBJECT.limits.rotation.numpy()).max() > 0.2


def test_codes_are_held_in_the_seen_range(page):
    rng = np.random.default_rng(2)
    codes = rng.normal(0, 1.5, (20, E + 20))
    held = run(
        page,
        "return codes.map((code) => Array.from(driving.clampCode(subject, code)));",
        codes=codes.tolist(),
    )
    expected = SUBJECT.limits.clamp_codes(torch.from_numpy(codes))
    np.testing.assert_allclose(held, expected, atol=1e-6)


def test_a_calibrated_performer_drives_as_in_live_driving(page):
    weights, angles = rows(3)
    # Where the lips would not close, the library also raises the jaw.
    weights[:, BLENDSHAPES.index("JawOpen")] = 0.9
    driver = LiveDriver(make_avatar(HEAD, np.asarray(TRACK.shape)), SUBJECT)
    expected = [
        driver.pose(ArkitFrame(row, np.concatenate([turn, np.zeros(6)])), k / 30)
        for k, (row, turn) in enumerate(zip(weights, angles, strict=True))
    ]
    codes, turns, places = mapped(
        page,
        weights,
        angles,
        """await (async () => {
          const { Performer } = await load("performer");
          const performer = new Performer(subject, false);
          let time = 0;
          return (row, angles) => performer.frame(row, angles, time += 1 / 30);
        })()""",
    )
    np.testing.assert_allclose(codes, torch.cat([e.condition for e in expected]), atol=1e-5)
    np.testing.assert_allclose(turns, torch.cat([e.rotation for e in expected]), atol=1e-6)
    np.testing.assert_allclose(places, torch.cat([e.translation for e in expected]), atol=1e-6)
    lids = codes[:, -2:]
    assert np.ptp(lids) > 0.2


def test_a_mirror_exchanges_the_sides(page):
    weights = np.arange(52) / 52
    shown = run(page, "return driving.mirrored(subject, row);", row=weights.tolist())
    found = dict(zip(BLENDSHAPES, shown, strict=True))
    given = dict(zip(BLENDSHAPES, weights, strict=True))
    assert found["MouthSmileLeft"] == given["MouthSmileRight"]
    assert found["JawLeft"] == given["JawRight"]
    assert found["MouthRight"] == given["MouthLeft"]
    assert found["BrowInnerUp"] == given["BrowInnerUp"]
    assert sorted(found.values()) == sorted(given.values())


def test_angles_of_a_turn_are_those_it_was_made_of(page):
    angles = np.random.default_rng(4).uniform(-1.2, 1.2, (50, 3))
    found = run(
        page,
        """const { headTurn, headAnglesOf } = await load("turns");
        return angles.map((each) => headAnglesOf(headTurn(...each)));""",
        angles=angles.tolist(),
    )
    np.testing.assert_allclose(found, angles, atol=1e-9)


def test_playback_interpolates_as_the_library_resamples(page):
    motion = clip_motion()
    fps = 90.0
    expected = motion.resample(fps)
    times = np.arange(len(expected.times)) / fps
    found = run(
        page,
        """const { Motion } = await load("player");
        const motion = new Motion(payload, 0);
        return times.map((time) => {
          const { code, pose } = motion.at(time);
          return [Array.from(code), Array.from(pose.R), pose.t];
        });""",
        times=times.tolist(),
    )
    codes, turns, places = (np.array(part) for part in zip(*found, strict=True))
    # Expressions are stored as 16-bit floats, quaternions in 16 bits.
    np.testing.assert_allclose(codes, expected.condition, atol=5e-4)
    np.testing.assert_allclose(turns.reshape(-1, 3, 3), expected.rotation, atol=1e-4)
    np.testing.assert_allclose(places, expected.translation, atol=1e-6)
    assert np.abs(np.diff(codes[:, 0])).max() > 0.1


def calibrated(page, weights, angles):
    """Coefficients and angles of samples, 30 a second, while and after they are calibrated."""
    return run(
        page,
        """const { Calibration } = await load("performer");
        const calibration = new Calibration();
        calibration.begin();
        const out = rows.map((row, k) => calibration.next(row, angles[k], k / 30));
        return out.map(({ weights, angles }) => [...weights, ...angles]);""",
        rows=weights.tolist(),
        angles=angles.tolist(),
    )


def test_a_second_of_the_performers_neutral_face_is_taken_away(page):
    weights, angles = np.full((60, 52), 0.2), np.tile([0.1, -0.2, 0.05], (60, 1))
    weights[:, 3] = 0.9  # too much for a neutral face
    weights[10, 7] = 1.0  # a moment
    weights[40, 5], angles[40, 0] = 0.6, 0.4
    out = np.array(calibrated(page, weights, angles))
    np.testing.assert_allclose(out[5, :3], 0.2)
    np.testing.assert_allclose(np.delete(out[50, :52], 3), 0, atol=1e-12)
    assert out[50, 3] == pytest.approx((0.9 - 0.6) / 0.4)
    np.testing.assert_allclose(out[50, 52:], 0, atol=1e-12)
    assert out[40, 5] == pytest.approx((0.6 - 0.2) / 0.8)
    assert out[40, 52] == pytest.approx(0.3, abs=0.02)


def test_smoothing_calms_noise_and_follows_a_step(page):
    rng = np.random.default_rng(5)
    noise = 0.01 * rng.normal(size=90)
    step = np.concatenate([np.zeros(30), np.ones(30)])
    calm, jump = run(
        page,
        """const { OneEuro } = await load("performer");
        const filtered = (values) => {
          const filter = new OneEuro();
          return values.map((value, k) => filter.next([value], k / 60)[0]);
        };
        return [filtered(noise), filtered(step)];""",
        noise=noise.tolist(),
        step=step.tolist(),
    )
    assert np.std(calm[20:]) < 0.5 * np.std(noise[20:])
    assert jump[33] > 0.8
    assert jump[59] == pytest.approx(1, abs=0.01)


def test_the_neutral_code_of_the_page_is_the_librarys(page):
    code = run(page, "return Array.from(driving.neutralCode(subject));")
    expected = FrameCode.neutral(SUBJECT.head).vector
    np.testing.assert_array_equal(code, expected)


def test_smoothing_is_that_of_live_driving(page):
    rng = np.random.default_rng(6)
    values = rng.normal(size=(60, 4)).cumsum(0) * 0.05
    times = np.cumsum(rng.uniform(0, 0.04, 60))
    times[40:] += 1  # a pause
    found = run(
        page,
        """const { OneEuro } = await load("performer");
        const filter = new OneEuro(1.5, 4);
        return values.map((row, k) => Array.from(filter.next(row, times[k])));""",
        values=values.tolist(),
        times=times.tolist(),
    )
    reference = OneEuro(1.5, 4)
    expected = [reference.next(row, time) for row, time in zip(values, times, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_the_neutral_face_is_taken_as_in_live_driving(page):
    weights, angles = rows(7)
    found = calibrated(page, weights, angles)
    reference = Calibration(unit="radians", flip=False)
    for row, turn, seen, k in zip(weights, angles, found, range(ROWS), strict=True):
        given = ArkitFrame(row, np.concatenate([turn, np.zeros(6)]))
        expected = reference.next(given, k / 30)
        np.testing.assert_allclose(seen[:52], expected.weights, atol=1e-7)
        np.testing.assert_allclose(seen[52:], expected.angles[:3], atol=1e-9)


def test_the_trunk_follows_as_in_live_driving(page):
    _, angles = rows(8)
    turns = matrix_from_axis_angle(torch.from_numpy(angles))
    poses = SUBJECT.limits.poses_from_turns(turns, SUBJECT.neck(), ABSOLUTE)
    found = run(
        page,
        """const { TrunkFollower } = await load("performer");
        const trunk = { R: [1, 0, 0, 0, 1, 0, 0, 0, 1], shift: [0, 0, 0] };
        const follower = new TrunkFollower({ ...subject, trunk });
        return rotations.map((R, k) => follower.next({ R, t: places[k] }, 0.03));""",
        rotations=poses[0].flatten(1).tolist(),
        places=poses[1].tolist(),
    )
    reference = TrunkFollower(SUBJECT)
    expected = [
        reference.next(rotation[None], place[None], 0.03)[0].flatten()
        for rotation, place in zip(*poses, strict=True)
    ]
    np.testing.assert_allclose(found, torch.stack(expected), atol=1e-6)
