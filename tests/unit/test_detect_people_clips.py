"""Face re-identification on real clips; skipped without the clips."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from headsplat.detect.face_colors import face_colors
from headsplat.detect.mediapipe_models import FaceModels
from headsplat.detect.subject import find_subject
from headsplat.detect.tracker import FaceTracker, find_face
from tests.unit.test_detect_clips import clip_frames

SIDE, FACE = 512, 200
MEN = ("talking_512p25.mp4", "speech_en_512p25.mp4", "clean_480p30.mp4")


@pytest.fixture(scope="module")
def models() -> FaceModels:
    return FaceModels()


def placed(frames: list[np.ndarray], models: FaceModels) -> list[np.ndarray]:
    """Scale and shift the clip to a fixed size and position of the face."""
    points = find_face(models, frames[0])[:, :2]
    scale = FACE / np.ptp(points, axis=0).max()
    shift = SIDE / 2 - scale * points.mean(axis=0)
    move = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    edge = cv2.BORDER_REPLICATE
    return [cv2.warpAffine(f, move, (SIDE, SIDE), borderMode=edge) for f in frames]


def others(frames: list[np.ndarray], models: FaceModels) -> np.ndarray:
    """Ids of the frames that show another person than the subject."""
    tracker = FaceTracker(models)
    ids, faces, colors = [], [], []
    for frame_id, frame in enumerate(frames, 1):
        for points, _ in tracker.step(frame_id, frame):
            ids.append(frame_id)
            faces.append(points)
            colors.append(face_colors(frame, points))
    size = np.array([SIDE, SIDE])
    return find_subject(np.array(ids), np.array(faces), np.array(colors), size, 120).others


@pytest.mark.parametrize("pair", [(0, 1), (0, 2), (1, 2)])
def test_two_people_of_equal_size_and_position_are_separated(
    shared: Path, models, pair: tuple[int, int]
) -> None:
    first, second = (placed(clip_frames(shared, MEN[k], 40), models) for k in pair)
    found = others([*first, *second[:30]], models)
    assert len(found) >= 27
    assert found.min() >= 39


def test_face_filter_rotation_and_light_keep_the_identity(shared: Path, models) -> None:
    grimaces = placed(clip_frames(shared, "long_480p30.mp4", 150), models)
    light = np.linspace(0.3, 1.3, SIDE)[:, None]
    relit = [np.clip(f * light, 0, 255).astype(np.uint8) for f in grimaces[::5]]
    assert len(others([*grimaces, *relit], models)) == 0
    turns = placed(clip_frames(shared, "talking_512p25.mp4", 400)[40::4], models)
    assert len(others(turns, models)) == 0
