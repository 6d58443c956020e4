"""The networks of the face landmarker, on a drawn face."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from headsplat.detect.blaze_face import BlazeFace
from headsplat.detect.chunk import WARM_UP, detect_chunk
from headsplat.detect.mediapipe_models import POINTS, SCORED, FaceModels, Region, region_around
from headsplat.detect.tracker import FaceTracker, find_face
from headsplat.networks.model_files import model_file
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import read_npz
from tests.conftest import PYTHON_PATH, ROOT
from tests.unit.face_video import SPEED, moved_face, write_face_video

EYES = np.array([[85, 120], [171, 120]])  # outer corners in the drawn face, right and left


@pytest.fixture(scope="module")
def models() -> FaceModels:
    return FaceModels()


@pytest.mark.parametrize("size", [(384, 256), (256, 400), (300, 300)])
def test_detector_boxes_are_in_image_pixels(size: tuple[int, int]) -> None:
    with zipfile.ZipFile(model_file("face_landmarker.task")) as bundle:
        detector = BlazeFace(bundle.read("face_detector.tflite"))
    places, scores = detector(moved_face(size[0] - 256, size[1] - 256, size))
    assert scores.shape == (1,)
    center, extent, right, left = (
        places[0, :4] - np.array([size[0] - 256, size[1] - 256]) * (np.arange(8) != 1)[:4, None]
    )
    assert np.abs(center - (128, 140)).max() < 16
    assert (extent > 80).all()
    assert (extent < 160).all()
    assert np.linalg.norm(right - (98, 120)) < 8
    assert np.linalg.norm(left - (158, 120)) < 8


def test_landmarks_follow_shift_turn_and_size(models: FaceModels) -> None:
    """Points of the same face, placed otherwise in the image, are the same up to a pixel."""
    face = moved_face(0, 0, (256, 256))
    expected = find_face(models, face)
    assert expected.shape == (POINTS, 3)
    assert np.linalg.norm(expected[[33, 263], :2] - EYES, axis=1).max() < 8
    shifted = find_face(models, moved_face(90.0, 20.0))
    assert np.abs(shifted[:, :2] - expected[:, :2] - (90, 20)).mean() < 0.8
    turned = find_face(models, np.ascontiguousarray(np.rot90(face, 1)))
    back = np.stack([256 - turned[:, 1], turned[:, 0]], 1)
    assert np.abs(back - expected[:, :2]).mean() < 1.0
    large = find_face(models, np.kron(face, np.ones((4, 4, 1), np.uint8)))
    assert np.abs(large[:, :2] / 4 - expected[:, :2]).mean() < 0.8


def test_scores_do_not_depend_on_place_and_size(models: FaceModels) -> None:
    points = find_face(models, moved_face(0, 0, (256, 256)))
    scores = models.blendshapes(points)
    assert scores.shape == (52,)
    assert 0 <= scores.min() <= scores.max() <= 1
    np.testing.assert_allclose(models.blendshapes(points * 3 + 100), scores, atol=1e-3)
    assert len(SCORED) == len(set(SCORED)) == 146


def test_regions_outside_the_image_hold_no_face(models: FaceModels) -> None:
    image = moved_face(0)
    for region in (Region(-500, 40, 60, 0.3), Region(900, 900, 2000, 0), Region(10, 10, 0.5, 0)):
        points, presence = models.landmarks(image, region)
        assert np.isfinite(points).all()
        assert presence < 0.5


def test_a_run_that_starts_later_gets_the_same_points(models: FaceModels) -> None:
    images = [moved_face(SPEED * k) for k in range(40)]
    whole, late = FaceTracker(models), FaceTracker(models)
    first = 22
    expected = [whole.step(k, image) for k, image in enumerate(images, 1)]
    for k, image in enumerate(images[first - 1 :], first):
        found = late.step(k, image)
        if k >= first + WARM_UP:
            np.testing.assert_array_equal(found[0][0], expected[k - 1][0][0])
    assert region_around(expected[-1][0][0]).x > region_around(expected[0][0][0]).x + 50


def test_another_file_is_refused_in_one_line(tmp_path: Path, monkeypatch) -> None:
    damaged = bytearray(model_file("face_landmarker.task").read_bytes())
    damaged[1_000_000] ^= 1
    (tmp_path / "face_landmarker.task").write_bytes(damaged)
    monkeypatch.setenv("HEADSPLAT_MODELS", str(tmp_path))
    with pytest.raises(UserError, match=r"face_landmarker.task: has SHA-256 ") as caught:
        FaceModels()
    assert "\n" not in str(caught.value)


def test_nothing_is_printed_and_no_torch_is_loaded(tmp_path: Path) -> None:
    video, info = write_face_video(tmp_path, 51)
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from headsplat.detect.chunk import detect_chunk\n"
        f"detect_chunk(Path({str(video)!r}), Path({str(info)!r}), 0, 1, Path(sys.argv[1]))\n"
        "print([m for m in ('torch', 'mediapipe', 'scipy') if m in sys.modules])"
    )
    out = tmp_path / "0.npz"
    run = subprocess.run(
        [sys.executable, "-c", code, out], capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": PYTHON_PATH}, cwd=ROOT, check=True,
    )  # fmt: skip
    assert run.stdout == "[]\n"
    assert "XNNPACK" not in run.stderr
    detect_chunk(video, info, 0, 1, tmp_path / "again.npz")
    for name, values in read_npz(out).items():
        np.testing.assert_array_equal(values, read_npz(tmp_path / "again.npz")[name])
