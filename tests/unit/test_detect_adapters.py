"""The other detectors: MediaPipe's Tasks landmarker and face-alignment's 68 points."""

import enum
import sys
import types
import zipfile
from pathlib import Path

import mediapipe
import numpy as np
import pytest
from mediapipe.tasks.python.metadata.metadata_writers import metadata_writer
from mediapipe.tasks.python.metadata.metadata_writers.model_asset_bundle_utils import (
    create_model_asset_bundle,
)

from headsplat.detect import task_models
from headsplat.detect.chunk import detect_chunk
from headsplat.detect.face_alignment_points import (
    SAME_68,
    SAME_478,
    FaceAlignmentPoints,
    disagreement,
)
from headsplat.detect.mediapipe_models import POINTS, Region, region_around
from headsplat.detect.solve import solve_crop
from headsplat.detect.task_models import MEMBERS, TaskModels, check_task
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import read_npz
from headsplat.video.encode import VideoWriter
from headsplat.video.probe import probe_video

RNG = np.random.default_rng(11)
# Points of a face in its bounding square; the two eye corners that give the angle are level.
PATTERN = RNG.random((POINTS, 3))
PATTERN[:2, :2] = [[0, 0], [1, 1]]
PATTERN[33, :2], PATTERN[263, :2] = (0.2, 0.4), (0.8, 0.4)


def bundle(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize("missing", MEMBERS)
def test_a_bundle_without_one_of_its_models(tmp_path, missing):
    members = {name: b"x" for name in MEMBERS if name != missing}
    path = bundle(tmp_path / "face.task", members)
    with pytest.raises(UserError, match=f"face.task: lacks {missing}"):
        TaskModels(path)


@pytest.mark.parametrize("content", [b"<!DOCTYPE html>", b"", None])
def test_a_file_that_is_no_bundle(tmp_path, content):
    path = tmp_path / "face.task"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"face.task: not a .task bundle"):
        check_task(path)


def test_a_bundle_of_rubbish_is_one_line(tmp_path):
    path = tmp_path / "face.task"
    create_model_asset_bundle({name: b"rubbish" * 9 for name in MEMBERS}, str(path))
    with pytest.raises(UserError, match=r"face.task: MediaPipe cannot run it") as caught:
        TaskModels(path)
    assert "\n" not in str(caught.value)


def test_mediapipe_loads_a_real_bundle(tmp_path):
    """The wheel's own models, with the metadata that the Tasks interface asks for.

    They have no blendshapes, and the mesh is of the older kind, which the Tasks graph cannot
    read out; so an image without a face is as far as they go.
    """
    root = Path(mediapipe.__file__).parent / "modules"
    models = {}
    for name, file, mean, deviation in (
        ("face_detector.tflite", "face_detection/face_detection_short_range.tflite", 127.5, 127.5),
        ("face_landmarks_detector.tflite", "face_landmark/face_landmark.tflite", 0.0, 255.0),
    ):
        writer = metadata_writer.MetadataWriter.create(bytearray((root / file).read_bytes()))
        writer.add_general_info(name, name)
        writer.add_image_input([mean], [deviation])
        models[name] = bytes(writer.populate()[0])
    create_model_asset_bundle(models, str(tmp_path / "standin.task"))
    landmarker = TaskModels(tmp_path / "standin.task", blendshapes=False)
    image = np.full((120, 160, 3), 90, np.uint8)
    assert landmarker.detect(image) == []
    assert landmarker.landmarks(image, Region(80, 60, 50, 0)) == (None, 0.0)
    assert landmarker.landmarks(image, Region(-400, 60, 50, 0)) == (None, 0.0)


class Mark:
    def __init__(self, x: float, y: float, z: float) -> None:
        self.x, self.y, self.z = x, y, z


class Landmarker:
    """Finds pure-colored squares: the "face" of color c has blendshape scores c / 255."""

    @classmethod
    def create_from_options(cls, options):
        assert options.output_face_blendshapes
        assert options.base_options.model_asset_path.endswith("face_landmarker.task")
        return cls()

    def detect(self, image):
        pixels = image.numpy_view()
        height, width = pixels.shape[:2]
        answer = types.SimpleNamespace(face_landmarks=[], face_blendshapes=[])
        levels = (pixels[..., 0].astype(int) + 16) // 32
        for level in np.unique(levels[levels > 1]):
            rows, columns = np.nonzero(levels == level)
            shade = pixels[rows, columns, 0].mean()
            x0, y0 = columns.min(), rows.min()
            side = columns.max() + 1 - x0
            if len(rows) < side**2 / 2:
                continue  # the blurred rim of a square in a compressed video
            # Counted from the center of the first pixel, as MediaPipe does it.
            points = PATTERN * side + [x0 - 0.5, y0 - 0.5, 0]
            points /= [width, height, width]
            answer.face_landmarks.append([Mark(*point) for point in points])
            categories = [types.SimpleNamespace(score=float(shade) / 255)] * 52
            answer.face_blendshapes.append(categories)
        return answer


def scene(*faces: tuple[int, int, int, int]) -> np.ndarray:
    """Black, 200 x 300, with squares (x, y, side, shade)."""
    image = np.zeros((200, 300, 3), np.uint8)
    for x, y, side, shade in faces:
        image[y : y + side, x : x + side] = shade
    return image


@pytest.fixture
def task(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(task_models, "FaceLandmarker", Landmarker)
    return bundle(tmp_path / "face_landmarker.task", {name: b"x" for name in MEMBERS})


def test_points_are_of_the_whole_image_and_of_the_nearest_face(task):
    models = TaskModels(task)
    image = scene((40, 50, 60, 100), (150, 60, 64, 200))
    regions = [detection.region for detection in models.detect(image)]
    assert [(r.x, r.y) for r in regions] == [(70, 80), (182, 92)]
    for region, (x, y, side, shade) in zip(
        regions, ((40, 50, 60, 100), (150, 60, 64, 200)), strict=True
    ):
        points, presence = models.landmarks(image, region)
        assert presence == 1
        assert points.dtype == np.float32
        np.testing.assert_allclose(points, PATTERN * side + [x, y, 0], atol=1e-3)
        np.testing.assert_allclose(models.blendshapes(points), shade / 255, atol=1e-6)
    assert models.landmarks(image, Region(20, 180, 30, 0)) == (None, 0.0)


@pytest.fixture
def face_alignment(monkeypatch):
    """A package of the interface that versions 1.3 and 1.4 share; `kinds` names its enum."""
    package = types.ModuleType("face_alignment")

    class Network:
        def __init__(self, kind, device, flip_input):
            assert kind.name in ("TWO_D", "_2D")
            assert device in ("cpu", "cuda")
            assert flip_input is False

        def get_landmarks_from_image(self, image, detected_faces):
            x0, y0, x1, y1, score = detected_faces[0]
            assert score == 1
            if not image.any():
                return None
            points = np.zeros((68, 2))
            points[list(SAME_68)] = PATTERN[list(SAME_478), :2] * (x1 - x0) + [x0, y0]
            return [points]

    package.FaceAlignment = Network
    package.LandmarksType = enum.Enum("LandmarksType", ["TWO_D", "THREE_D"])
    monkeypatch.setitem(sys.modules, "face_alignment", package)
    return package


@pytest.mark.parametrize("names", [["TWO_D", "TWO_HALF_D"], ["_2D", "_2halfD"]])
def test_both_spellings_of_the_enum(face_alignment, names):
    face_alignment.LandmarksType = enum.Enum("LandmarksType", [(n, k) for k, n in enumerate(names)])
    network = FaceAlignmentPoints()
    face = (PATTERN * 60 + [40, 50, 0]).astype(np.float32)
    points = network.points(scene((40, 50, 60, 100)), face)
    assert points.shape == (68, 2)
    assert disagreement(face[None], points[None]) < 1e-5
    assert disagreement(face[None], points[None] + [3.6, 0]) == pytest.approx(3.6 / 36, abs=1e-4)
    nothing = network.points(scene(), face)
    assert np.isnan(nothing).all()
    assert np.isnan(disagreement(face[None], nothing[None]))


def test_neither_spelling_and_no_package(face_alignment, monkeypatch):
    face_alignment.LandmarksType = enum.Enum("LandmarksType", ["THREE_D"])
    with pytest.raises(UserError, match="neither TWO_D nor _2D"):
        FaceAlignmentPoints()
    monkeypatch.setitem(sys.modules, "face_alignment", None)
    with pytest.raises(UserError, match="'face-alignment' is not installed"):
        FaceAlignmentPoints()


def test_scores_and_second_points_reach_the_clips_landmarks(task, face_alignment, tmp_path):
    video = tmp_path / "clip.mp4"
    with VideoWriter(video, 300, 200, 25) as writer:
        for k in range(52):
            writer.write(scene((60 + k, 30, 140, 200)))
    probe_video(video, tmp_path / "video.json")
    paths = [tmp_path / f"{chunk}.npz" for chunk in range(2)]
    for chunk, path in enumerate(paths):
        detect_chunk(video, tmp_path / "video.json", chunk, 2, path, "auto", task, "face_alignment")
    out = [tmp_path / name for name in ("crop.json", "frames.tsv", "landmarks.npz")]
    solve_crop(tmp_path / "video.json", paths, *out, size=128)
    found = read_npz(out[2])
    assert found["blendshapes"].shape == (52, 52)
    assert found["points68"].shape == (52, 68, 2)
    seen = np.isfinite(found["points"]).all((1, 2))
    assert seen.any()
    np.testing.assert_array_equal(np.isfinite(found["blendshapes"]).all(1), seen)
    centers = found["points"][seen, :, 0].mean(1)
    second = found["points68"][seen][:, list(SAME_68), 0].mean(1)
    assert np.ptp(centers - second) < 8
    assert region_around(found["points"][seen][0]).side > 100


def test_tasks_without_the_bundle_is_one_line(tmp_path):
    video = tmp_path / "clip.mp4"
    with VideoWriter(video, 64, 64, 25) as writer:
        for _ in range(52):
            writer.write(np.zeros((64, 64, 3), np.uint8))
    probe_video(video, tmp_path / "video.json")
    with pytest.raises(UserError, match="needs --weights face_landmarker.task"):
        detect_chunk(video, tmp_path / "video.json", 0, 1, tmp_path / "0.npz", "tasks")
