"""The detector finds the procedural face, and its points match the model's landmarks."""

import numpy as np
import pytest
import torch

from headsplat.camera import project
from headsplat.detect.mediapipe_models import FaceModels
from headsplat.detect.tracker import find_face
from headsplat.heads.calibration_views import head_to_camera
from headsplat.heads.landmarks import MEDIAPIPE_GROUPS, points
from headsplat.heads.model import HeadModel
from headsplat.synthetic.head import calibrated
from headsplat.synthetic.head.texture import paint_texture


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> HeadModel:
    path = tmp_path_factory.mktemp("head") / "procedural.npz"
    calibrated.build_procedural_head(path)
    return HeadModel.load(path)


def test_points_land_on_the_features(built):
    """Views that calibration did not use: median error under 2.5 % of the inter-ocular distance."""
    texture = torch.from_numpy(paint_texture(1024)).permute(2, 0, 1)[None]
    vertices = torch.from_numpy(built.template)
    found = built.landmarks["mediapipe"]
    places = points(vertices[None], found)
    names = ("brows", "left_eye", "right_eye", "nose", "lips_outer", "lips_inner")
    errors: dict[str, list[float]] = {name: [] for name in names}
    models = FaceModels()
    for yaw, pitch in ((0, 0), (18, 4), (-18, -4), (24, 0), (-8, 7)):
        rotation = head_to_camera(yaw, pitch)
        image = calibrated.draw(built, vertices, rotation, texture).image
        face = find_face(models, image)
        assert face is not None, (yaw, pitch)
        seen = face[:, :2]
        pixels = project(places, rotation[None], calibrated.OFFSET[None], calibrated.CAMERA)[
            0
        ].numpy()
        ocular = np.linalg.norm(seen[33] - seen[263])
        for name in names:
            rows = np.isin(found.index, MEDIAPIPE_GROUPS[name])
            gap = np.linalg.norm(pixels[rows, :2] - seen[found.index[rows]], axis=1)
            errors[name].append(float(np.median(gap) / ocular))
    for name, values in errors.items():
        assert np.median(values) < 0.025, (name, values)


def test_calibrated_points_are_many_and_on_the_face(built):
    found = built.landmarks["mediapipe"]
    assert len(found.index) > 300
    assert np.all(np.diff(found.index) > 0)
    inside = np.concatenate([built.regions["mouth_interior"], built.regions["scalp"]])
    assert np.isin(built.faces[found.face], inside).all(1).mean() < 0.02
