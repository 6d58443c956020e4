"""Adapter to MediaPipe's Tasks face landmarker: 478 landmarks and 52 blendshape scores."""

import zipfile
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from headsplat.detect.mediapipe_models import POINTS, Detection, Region, region_around
from headsplat.networks.mediapipe_wheel import loading, quiet_stderr
from headsplat.runtime.errors import UserError, one_line
from headsplat.runtime.regular import open_regular
from headsplat.runtime.zips import BROKEN

with loading():
    import mediapipe
    from mediapipe.tasks.python import BaseOptions
    from mediapipe.tasks.python.vision import FaceLandmarker, FaceLandmarkerOptions

BLENDSHAPES = 52
MEMBERS = ("face_detector.tflite", "face_landmarks_detector.tflite", "face_blendshapes.tflite")
_AROUND = 2.0  # crop side over region side, because the internal detector needs some surroundings
_MAX_FACES = 3


def check_task(path: Path, wanted: Sequence[str] = MEMBERS) -> None:
    """Check that a file is a `.task` bundle with the wanted models.

    Raises:
        UserError: it is not a zip, or lacks a model.
    """
    try:
        with open_regular(path) as handle, zipfile.ZipFile(handle) as bundle:
            members = set(bundle.namelist())
    except BROKEN as error:
        raise UserError(
            f"{path}: not a .task bundle ({one_line(error)}); download face_landmarker.task again"
        ) from error
    missing = [name for name in wanted if name not in members]
    if missing:
        raise UserError(
            f"{path}: lacks {', '.join(missing)}; give face_landmarker.task with blendshapes"
        )


class TaskModels:
    """`face_landmarker.task` with the interface of `FaceModels`, without state between images.

    The landmarker detects faces and landmarks in one step. So `detect` returns the regions of the
    landmarks, and `landmarks` returns the face nearest to the center of a region.

    Args:
        path: the `.task` file.
        blendshapes: whether to run the blendshape model too.

    Raises:
        UserError: the bundle is incomplete, or MediaPipe cannot run it.
    """

    def __init__(self, path: Path, blendshapes: bool = True) -> None:
        check_task(path, MEMBERS if blendshapes else ())
        options = FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(path)),
            num_faces=_MAX_FACES,
            output_face_blendshapes=blendshapes,
        )
        try:
            with quiet_stderr():
                self._landmarker = FaceLandmarker.create_from_options(options)
                self._faces(np.zeros((64, 64, 3), np.uint8))
        except (RuntimeError, ValueError, OSError) as error:
            raise UserError(
                f"{path}: MediaPipe cannot run it ({one_line(error)}); download it again"
            ) from error
        self._scores: deque[tuple[np.ndarray, np.ndarray]] = deque(maxlen=16)

    def detect(self, image: np.ndarray, far: bool = False) -> list[Detection]:
        """Faces in an RGB image, uint8 (H, W, 3); `far` has no effect, as there is one model."""
        return [Detection(region_around(points), 1.0) for points, _ in self._faces(image)]

    def landmarks(self, image: np.ndarray, region: Region) -> tuple[np.ndarray | None, float]:
        """Landmarks of the face in `region`, and the presence score.

        Returns:
            Points float32 (478, 3) in px of `image` (z on the same scale, negative towards the
            camera), or None without a face; and the presence, 1 or 0.
        """
        height, width = image.shape[:2]
        reach = _AROUND * region.side / 2
        x0, x1 = max(0, int(region.x - reach)), min(width, int(region.x + reach) + 1)
        y0, y1 = max(0, int(region.y - reach)), min(height, int(region.y + reach) + 1)
        if x1 <= x0 or y1 <= y0:
            return None, 0.0
        best, nearest = None, region.side / 2
        for points, scores in self._faces(np.ascontiguousarray(image[y0:y1, x0:x1])):
            points[:, :2] += (x0, y0)
            found = region_around(points)
            distance = float(np.hypot(found.x - region.x, found.y - region.y))
            if distance < nearest:
                best, nearest = (points, scores), distance
        if best is None:
            return None, 0.0
        self._scores.append(best)
        return best[0], 1.0

    def blendshapes(self, points: np.ndarray) -> np.ndarray:
        """(52,) float32 scores for an array that one of the last calls of `landmarks` returned."""
        return next(scores for known, scores in reversed(self._scores) if known is points)

    def _faces(self, image: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Points (478, 3) in px and scores (52,) of every face; NaN without the score model."""
        height, width = image.shape[:2]
        wrapped = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=image)
        output = self._landmarker.detect(wrapped)
        faces = []
        for number, marks in enumerate(output.face_landmarks):
            flat = [v for mark in marks for v in (mark.x, mark.y, mark.z)]
            points = np.array(flat, np.float32).reshape(POINTS, 3)
            points *= np.array([width, height, width], np.float32)
            points[:, :2] += 0.5  # its origin is the center of the first pixel, ours the corner
            scores = np.full(BLENDSHAPES, np.nan, np.float32)
            if output.face_blendshapes:
                scores[:] = [category.score for category in output.face_blendshapes[number]]
            faces.append((points, scores))
        return faces
