"""Input checks of the tracking stage, and cut detection."""

import json

import numpy as np
import pytest

from headsplat.frames.crop import Crop
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import write_npz
from headsplat.tracking.intrinsics import default_intrinsics, given_intrinsics
from headsplat.tracking.observations import read_observations, split_cuts
from headsplat.tracking.priors import measure_noise
from headsplat.tracking.run import read_identity

FRAMES = 12


def arrays():
    rng = np.random.default_rng(0)
    face = rng.uniform(200, 300, size=(478, 3))
    points = face + np.arange(FRAMES)[:, None, None] * 0.5
    return {
        "ids": np.arange(1, FRAMES + 1, dtype=np.int32),
        "points": points.astype(np.float32),
        "status": np.full(FRAMES, "ok"),
        "confidence": np.ones(FRAMES, np.float32),
        "time": np.arange(FRAMES) / 25,
    }


def read(folder, values, rows=FRAMES):
    write_npz(folder / "landmarks.npz", **values)
    crop = {"x0": 0, "y0": 0, "side": 512, "size": 512, "source_width": 512, "source_height": 512}
    (folder / "crop.json").write_text(json.dumps(crop))
    lines = [f"{k + 1}\t{k / 25}\tok\t1\t1" for k in range(rows)]
    (folder / "frames.tsv").write_text(
        "\n".join(["id\ttime\tstatus\tconfidence\tfaces", *lines]) + "\n"
    )
    return read_observations(*(folder / n for n in ("landmarks.npz", "crop.json", "frames.tsv")))


def test_good_landmarks_are_read(tmp_path):
    observed = read(tmp_path, arrays())
    assert observed.seen.all()
    assert observed.linked.all()
    assert observed.fps == 25
    np.testing.assert_allclose(observed.points[0], arrays()["points"][0, :, :2] - 256, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a["points"].__setitem__((4, 7, 1), np.nan), "not finite, first frame 5"),
        (lambda a: a["confidence"].__setitem__(3, -0.5), r"confidence outside 0\.\.1 in frame 4"),
        (lambda a: a["confidence"].__setitem__(3, np.nan), "confidence outside"),
        (lambda a: a.__setitem__("points", a["points"][:, :68]), r"expected \[12, 478, 3\]"),
        (lambda a: a["status"].__setitem__(slice(0, 10), "no_face"), "only 2 of 12 frames"),
        (lambda a: a["confidence"].__setitem__(slice(0, 10), 0.0), "only 2 of 12 frames"),
        (lambda a: a.pop("status"), "'status' is missing"),
        (lambda a: a.__setitem__("points68", a["points"][:, :51]), r"expected \[12, 68, 2\]"),
        (lambda a: a.__setitem__("points68", a["points"][:, :68]), "weights of points68 outside"),
    ],
)
def test_bad_landmarks_are_refused(tmp_path, change, message):
    values = arrays() | {"status": np.full(FRAMES, "several_faces")}
    change(values)
    with pytest.raises(UserError, match=message):
        read(tmp_path, values)


def test_other_number_of_frames_is_refused(tmp_path):
    with pytest.raises(UserError, match="12 frames do not match the 11"):
        read(tmp_path, arrays(), rows=FRAMES - 1)


def test_frames_of_other_ids_are_refused(tmp_path):
    values = arrays() | {"ids": np.arange(2, FRAMES + 2, dtype=np.int32)}
    with pytest.raises(UserError, match="do not match"):
        read(tmp_path, values)


def test_a_fifth_of_the_frames_is_enough(tmp_path):
    values = arrays() | {"status": np.full(FRAMES, "no_face", dtype="U13")}
    values["status"][:3] = "ok"
    assert read(tmp_path, values).seen.sum() == 3


def test_frames_of_no_confidence_do_not_count(tmp_path):
    values = arrays()
    values["confidence"][3:5] = 0
    values["points"][3] = np.nan
    observed = read(tmp_path, values)
    assert np.flatnonzero(~observed.seen).tolist() == [3, 4]
    assert (observed.points[3:5] == 0).all()


@pytest.mark.parametrize("step", [20, 80])
def test_jump_cut_is_found_in_slow_motion_only(step):
    points = np.zeros((20, 478, 2)) + np.arange(20)[:, None, None] * 0.5
    points[12:] += step
    _, linked = split_cuts(points, np.ones(20, bool), 100.0)
    assert np.flatnonzero(~linked).tolist() == [11]
    # A head that is fast before and after as well is not cut.
    fast = np.zeros((20, 478, 2)) + np.arange(20)[:, None, None] * 15.0
    assert split_cuts(fast, np.ones(20, bool), 100.0)[1].all()
    # Nor is one whose every image comes twice.
    assert split_cuts(fast[np.arange(20) // 2], np.ones(20, bool), 100.0)[1].all()


def test_cut_decouples_frames():
    points = np.zeros((10, 478, 2))
    points[6:] += 80
    seen, linked = split_cuts(points, np.ones(10, bool), 100.0)
    assert seen.all()
    assert np.flatnonzero(~linked).tolist() == [5]


def test_stray_detection_is_dropped():
    points = np.zeros((10, 478, 2))
    points[4] += 200
    seen, linked = split_cuts(points, np.ones(10, bool), 100.0)
    assert np.flatnonzero(~seen).tolist() == [4]
    assert linked.all()


def test_noise_is_measured_under_smooth_motion():
    rng = np.random.default_rng(0)
    time = np.arange(200)[:, None, None]
    points = rng.uniform(size=(1, 478, 2)) * 100 + 30 * np.sin(time / 20)
    points = points + rng.normal(size=(200, 478, 2)) * 0.8
    noise = measure_noise(points, np.ones(200, bool), np.ones(199, bool))
    assert np.median(noise) == pytest.approx(0.8, rel=0.1)


def test_identity_of_another_model_is_refused(tmp_path):
    np.save(tmp_path / "identity.npy", np.zeros((1, 300), np.float32))
    assert read_identity(tmp_path / "identity.npy", 300).shape == (300,)
    with pytest.raises(UserError, match="300 identity coefficients, the head model has 100"):
        read_identity(tmp_path / "identity.npy", 100)
    with pytest.raises(UserError, match=r"missing\.npy"):
        read_identity(tmp_path / "missing.npy", 100)
    np.save(tmp_path / "broken.npy", np.full(100, np.nan, np.float32))
    with pytest.raises(UserError, match=r"broken\.npy: identity coefficients are not finite"):
        read_identity(tmp_path / "broken.npy", 100)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1000,1000,960", "expected fx,fy,cx,cy"),
        ("1000,1000,960,540,1920", "expected fx,fy,cx,cy"),
        ("1000,nan,960,540", "expected fx,fy,cx,cy"),
        ("1000,1500,960,540", "rescale the video"),
        ("1000,1000,1960,540", "far from the middle of the 1920x1080"),
        ("2000,2000,1920,1080", "far from the middle"),
        ("1000,1000,960,540,1280,720", "of a 1280x720 image, the video is 1920x1080"),
    ],
)
def test_bad_intrinsics_are_refused(text, message):
    with pytest.raises(UserError, match=message):
        given_intrinsics(text, Crop(100, 0, 1000, 500, 1920, 1080))


def test_crop_shifts_the_intrinsics():
    crop = Crop(100, 0, 1000, 500, 1920, 1080)
    camera = given_intrinsics("1400,1400,950,550", crop)
    assert camera.focal == pytest.approx(700)
    assert camera.center == pytest.approx((425, 275))
    assert given_intrinsics("1400,1400,950,550,1920,1080", crop) == camera
    assert default_intrinsics(crop).center == pytest.approx((430, 270))
    assert default_intrinsics(crop).focal == pytest.approx(0.25 * 1080 / np.tan(np.pi * 12.5 / 180))
