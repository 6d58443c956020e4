"""The built-in clip: rendered video, sound and ground truth."""

from pathlib import Path

import av
import numpy as np
import pytest
import torch

from headsplat.camera import project, vector_from_matrix
from headsplat.detect.mediapipe_models import FaceModels
from headsplat.detect.tracker import FaceTracker
from headsplat.heads.model import HeadModel
from headsplat.heads.skinning import HeadGeometry
from headsplat.rotations import matrix_from_axis_angle
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import read_npz
from headsplat.synthetic.clip import render_clip
from headsplat.synthetic.head.head import procedural_head
from headsplat.synthetic.torso import build_torso
from tests.unit.toy_head import toy_head

SIZE = 256


@pytest.fixture(scope="module")
def head(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("head") / "procedural.npz"
    procedural_head().save(path)
    return path


@pytest.fixture(scope="module")
def clip(head, tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("clip")
    video, ground_truth = folder / "demo.mp4", folder / "ground_truth.npz"
    render_clip(head, video, ground_truth, seconds=1.0, size=SIZE)
    return video, ground_truth


@pytest.fixture(scope="module")
def images(clip) -> np.ndarray:
    with av.open(str(clip[0])) as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])


def test_a_second_has_25_images_and_sound_of_the_same_length(clip, images):
    assert images.shape == (25, SIZE, SIZE, 3)
    with av.open(str(clip[0])) as file:
        assert file.streams.video[0].codec_context.name == "h264"
        assert file.streams.video[0].average_rate == 25
        rate = file.streams.audio[0].rate
        sound = np.concatenate([f.to_ndarray()[0] for f in file.decode(audio=0)])
    assert abs(len(sound) / rate - 1.0) < 0.04
    assert 0.1 < np.abs(sound).max() <= 1.0


def test_ground_truth_has_the_documented_arrays(clip, head):
    ground_truth, model = read_npz(clip[1]), HeadModel.load(head)
    shapes = {
        "ids": (25,), "K": (3, 3), "R": (25, 3, 3), "t": (25, 3), "jaw": (25, 3),
        "eyes": (25, 6), "eyelids": (25, 2), "exp": (25, len(model.expression_std)),
        "shape": (len(model.shape_std),), "head_name": (),
    }  # fmt: skip
    assert {key: value.shape for key, value in ground_truth.items()} == shapes
    assert ground_truth["ids"].tolist() == list(range(1, 26))
    assert str(ground_truth["head_name"]) == "procedural"
    assert ground_truth["K"][0, 2] == ground_truth["K"][1, 2] == SIZE / 2
    np.testing.assert_allclose(np.linalg.det(ground_truth["R"]), 1, atol=1e-5)
    assert ground_truth["exp"].min() >= 0
    assert ground_truth["exp"].max() <= 1
    np.testing.assert_array_equal(ground_truth["eyes"][:, :3], ground_truth["eyes"][:, 3:])


def seen_points(ground_truth: dict, model: HeadModel) -> np.ndarray:
    """MediaPipe's points of the model, as the ground truth says they are seen: (N, 478, 3)."""
    value = {key: torch.as_tensor(ground_truth[key]) for key in ground_truth if key != "head_name"}
    vertices = HeadGeometry(model).vertices(
        value["shape"],
        value["exp"],
        matrix_from_axis_angle(value["jaw"]),
        matrix_from_axis_angle(value["eyes"].reshape(-1, 2, 3)),
        value["eyelids"],
    )
    return project(vertices, value["R"], value["t"], vector_from_matrix(value["K"])).numpy()


def test_ground_truth_matches_the_images(clip, head, images):
    # Where the ground truth puts the irises the image is darker than where it puts the cheeks.
    ground_truth, model = read_npz(clip[1]), HeadModel.load(head)
    points = seen_points(ground_truth, model)
    open_eyes = np.flatnonzero(ground_truth["eyelids"].max(1) < 0.3)
    assert len(open_eyes) > 10
    for name in ("left_eyeball", "right_eyeball"):
        ball = np.asarray(model.regions[name])
        # The ball's vertex that is farthest in front at rest is the middle of the pupil.
        pupil = ball[model.template[ball, 2].argmax()]
        x, y = points[open_eyes, pupil, :2].round().astype(int).T
        pupil_light = images[open_eyes, y, x].mean()
        cheek_light = images[open_eyes, (y + 0.07 * SIZE).astype(int), x].mean()
        assert pupil_light < 0.6 * cheek_light


def test_a_face_is_found_in_each_image(images):
    models = FaceModels()
    found = [FaceTracker(models).step(1, image) for image in images[::5]]
    assert [len(faces) for faces in found] == [1] * len(found)


def test_the_background_is_still_and_structured(images):
    wall = images[:, : SIZE // 2, : SIZE // 4].astype(float)
    assert wall.std((1, 2)).mean() > 10
    assert np.abs(wall - wall.mean(0)).mean() < 2.0


def test_the_same_clip_has_the_same_bytes(head, clip, tmp_path):
    video, ground_truth = tmp_path / "again.mp4", tmp_path / "again.npz"
    render_clip(head, video, ground_truth, seconds=1.0, size=SIZE)
    assert video.read_bytes() == clip[0].read_bytes()
    assert ground_truth.read_bytes() == clip[1].read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"seconds": 0.2}, "1 to 600"), ({"size": 333}, "even size"), ({"fps": 5}, "10 to 60")],
)
def test_impossible_clips_are_refused(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        render_clip(tmp_path / "head.npz", tmp_path / "v.mp4", tmp_path / "t.npz", **options)


def test_another_head_is_refused(tmp_path):
    path = tmp_path / "toy.npz"
    toy_head().save(path)
    with pytest.raises(UserError, match=r"toy\.npz: is the head 'toy'"):
        render_clip(path, tmp_path / "v.mp4", tmp_path / "t.npz")


def test_torso_is_a_closed_tube_that_looks_outwards_and_hides_the_end_of_the_neck():
    center = np.array([0.0, -0.16, -0.06])
    torso = build_torso(center, (0.06, 0.05))
    a, b, c = (torso.vertices[torso.faces[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    outside = (a + b + c) / 3 - center
    # Only the inner face of the collar looks inwards.
    outwards = (normal[:, [0, 2]] * outside[:, [0, 2]]).sum(1) > 0
    assert outwards.mean() > 0.85
    assert torso.vertices[:, 1].max() > center[1] + 0.02
    assert np.ptp(torso.vertices[:, 0]) > 0.35
