"""Adapter to face-alignment, the second detector; a package of its interface stands in for it."""

import enum
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from headsplat.detect.chunk import detect_chunk
from headsplat.detect.face_alignment_points import (
    SAME_68,
    SAME_478,
    FaceAlignmentPoints,
    disagreement,
)
from headsplat.detect.mediapipe_models import POINTS
from headsplat.detect.solve import solve_crop
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import read_npz
from tests.unit.face_video import write_face_video

# Points of a face in its bounding square; the two eye corners are level.
PATTERN = np.random.default_rng(11).random((POINTS, 3))
PATTERN[:2, :2] = [[0, 0], [1, 1]]
PATTERN[33, :2], PATTERN[263, :2] = (0.2, 0.4), (0.8, 0.4)


def scene(*faces: tuple[int, int, int, int]) -> np.ndarray:
    """Black, 200 x 300, with squares (x, y, side, shade)."""
    image = np.zeros((200, 300, 3), np.uint8)
    for x, y, side, shade in faces:
        image[y : y + side, x : x + side] = shade
    return image


@pytest.fixture
def face_alignment(monkeypatch):
    """A package with the interface of versions 1.3 and 1.4; `kinds` are its enum's members."""
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
def test_both_names_of_the_landmark_enum(face_alignment, names):
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


def test_unknown_enum_and_missing_package(face_alignment, monkeypatch):
    face_alignment.LandmarksType = enum.Enum("LandmarksType", ["THREE_D"])
    with pytest.raises(UserError, match="neither TWO_D nor _2D"):
        FaceAlignmentPoints()
    monkeypatch.setitem(sys.modules, "face_alignment", None)
    with pytest.raises(UserError, match="'face-alignment' is not installed"):
        FaceAlignmentPoints()


def test_scores_and_68_points_are_written(face_alignment, tmp_path: Path) -> None:
    video, info = write_face_video(tmp_path, 52)
    paths = [tmp_path / f"{chunk}.npz" for chunk in range(2)]
    for chunk, path in enumerate(paths):
        detect_chunk(video, info, chunk, 2, path, "face_alignment")
    out = [tmp_path / name for name in ("crop.json", "frames.tsv", "landmarks.npz")]
    solve_crop(info, paths, *out, size=128)
    found = read_npz(out[2])
    assert found["blendshapes"].shape == (52, 52)
    assert found["points68"].shape == (52, 68, 2)
    assert np.isfinite(found["points"]).all()
    assert 0 <= found["blendshapes"].min() <= found["blendshapes"].max() <= 1
    low, high = found["points"][..., :2].min(1), found["points"][..., :2].max(1)
    second = found["points68"][:, list(SAME_68)]
    assert ((second >= low[:, None]) & (second <= high[:, None])).all()
