"""MediaPipe's own face landmarker beside the same networks on LiteRT, where it is installed."""

import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from headsplat.detect.chunk import WARM_UP, detect_chunk
from headsplat.detect.mediapipe_models import POINTS, FaceModels, Region, region_around
from headsplat.detect.mediapipe_tasks import TaskModels
from headsplat.detect.tracker import FaceTracker, find_face
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import read_npz
from headsplat.synthetic.clip import render_clip
from headsplat.synthetic.head.head import procedural_head
from headsplat.video.decode import read_images
from headsplat.video.info import VideoInfo
from headsplat.video.probe import probe_video
from tests.unit.face_video import moved_face, write_face_video

SIZE = 320


def installed() -> bool:
    try:
        return bool(metadata.version("mediapipe"))
    except metadata.PackageNotFoundError:
        return False


needs_mediapipe = pytest.mark.skipif(
    not installed(), reason="the package mediapipe is not installed, see requirements-optional.txt"
)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two seconds of the built-in subject: the video and its `video.json`."""
    folder = tmp_path_factory.mktemp("clip")
    video, info, head = folder / "clip.mp4", folder / "video.json", folder / "head.npz"
    procedural_head().save(head)
    render_clip(head, video, folder / "truth.npz", seconds=2.0, size=SIZE)
    probe_video(video, info)
    return video, info


def shown(video: Path, info: Path, count: int) -> list[np.ndarray]:
    """The first images."""
    images = read_images(video, VideoInfo.load(info), 1, count + 1, fine=False)
    return [image for _, image in images]


@pytest.fixture
def models() -> TaskModels:
    return TaskModels()


@needs_mediapipe
def test_both_detectors_agree_on_the_built_in_clip(clip, tmp_path: Path) -> None:
    video, info = clip
    found = {}
    for model in ("litert", "mediapipe"):
        detect_chunk(video, info, 0, 1, tmp_path / f"{model}.npz", model=model)
        found[model] = read_npz(tmp_path / f"{model}.npz")
    ours, theirs = found["litert"], found["mediapipe"]
    assert {key: (v.shape, v.dtype) for key, v in ours.items()} == {
        key: (v.shape, v.dtype) for key, v in theirs.items()
    }
    np.testing.assert_array_equal(ours["face_frame"], np.arange(1, 51))
    np.testing.assert_array_equal(theirs["face_frame"], np.arange(1, 51))
    assert (theirs["score"] == 1).all()
    apart = (theirs["faces"] - ours["faces"])[..., :2]
    eyes = np.linalg.norm(ours["faces"][:, 33, :2] - ours["faces"][:, 263, :2], axis=-1)
    # The regions differ a little: theirs come from the detector, ours from the last image's points.
    assert np.linalg.norm(apart, axis=-1).mean() < 0.02 * eyes.mean()
    assert (np.linalg.norm(apart, axis=-1).mean(1) < 0.03 * eyes).all()
    assert np.abs(apart.mean((0, 1))).max() < 0.4  # the same origin of pixels
    depth = np.abs(theirs["faces"] - ours["faces"])[..., 2].mean()
    scores = np.abs(theirs["blendshapes"] - ours["blendshapes"])
    assert depth < 0.02 * eyes.mean()
    assert scores.mean() < 0.04
    assert 0 <= theirs["blendshapes"].min() <= theirs["blendshapes"].max() <= 1


@needs_mediapipe
def test_a_run_that_starts_later_gets_the_same_points(clip, models: TaskModels) -> None:
    images = shown(*clip, 40)
    first = 22
    whole, late = FaceTracker(models), FaceTracker(models)
    expected = [whole.step(k, image) for k, image in enumerate(images, 1)]
    for k, image in enumerate(images[first - 1 :], first):
        found = late.step(k, image)
        if k >= first + WARM_UP:
            np.testing.assert_array_equal(found[0][0], expected[k - 1][0][0])
            np.testing.assert_array_equal(
                models.blendshapes(found[0][0]), models.blendshapes(expected[k - 1][0][0])
            )


@needs_mediapipe
def test_the_face_of_the_region_is_taken(clip, models: TaskModels) -> None:
    (image,) = shown(*clip, 1)
    face = find_face(models, image)
    pair = np.concatenate([image, image], axis=1)
    region = region_around(face)
    for shift in (0, SIZE):
        place = Region(region.x + shift, region.y, region.side, region.angle)
        points, presence = models.landmarks(pair, place)
        assert presence == 1
        assert np.abs(points[:, :2] - face[:, :2] - (shift, 0)).mean() < 1
        assert models.blendshapes(points).shape == (52,)
    assert len(models.detect(pair)) == 2
    del points, face
    assert not models._scores  # of faces that nobody holds
    for region in (Region(-500, 40, 60, 0.3), Region(10, 10, 0.5, 0)):
        points, presence = models.landmarks(pair, region)
        assert presence == 0
        assert points.shape == (POINTS, 3)


@needs_mediapipe
def test_the_drawn_face_is_where_litert_finds_it(models: TaskModels) -> None:
    image = moved_face(40.0)
    apart = find_face(models, image) - find_face(FaceModels(), image)
    assert np.linalg.norm(apart[:, :2], axis=1).mean() < 2


@pytest.mark.parametrize(
    ("version", "says"),
    [
        (None, "is not installed"),
        ("0.10.21", "0.10.21 is installed; only 0.10.30 to 0.10.33 are taken"),
        ("0.10.35", "0.10.35 is installed; only"),
        ("1.0.2", "1.0.2 is installed; only"),
        ("nonsense", "nonsense is installed; only"),
    ],
)
def test_an_unfit_package_is_refused_in_one_line(tmp_path: Path, monkeypatch, version, says):
    if version is not None:
        folder = tmp_path / f"mediapipe-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Name: mediapipe\nVersion: {version}\n")
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    with pytest.raises(UserError) as caught:
        TaskModels()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "set detect.model to litert" in str(caught.value)


def test_a_package_that_does_not_load_leaves_no_file(tmp_path: Path, monkeypatch) -> None:
    video, info = write_face_video(tmp_path, 51)
    packages = tmp_path / "packages"
    (packages / "mediapipe-0.10.33.dist-info").mkdir(parents=True)
    metadata_file = packages / "mediapipe-0.10.33.dist-info/METADATA"
    metadata_file.write_text("Name: mediapipe\nVersion: 0.10.33\n")
    (packages / "mediapipe").mkdir()
    (packages / "mediapipe/__init__.py").write_text("raise OSError('libEGL.so.1: is not there')")
    monkeypatch.delitem(sys.modules, "mediapipe", raising=False)
    monkeypatch.syspath_prepend(packages)
    with pytest.raises(UserError, match=r"0.10.33 does not load \(libEGL.so.1: is not there\)"):
        detect_chunk(video, info, 0, 1, tmp_path / "0.npz", model="mediapipe")
    assert not (tmp_path / "0.npz").exists()
