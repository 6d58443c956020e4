"""Adapter to MediaPipe's Tasks face landmarker: the 478 points, and 52 blendshape scores a face."""

import zipfile
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from headsplat.detect.mediapipe_models import POINTS, Detection, Region, quiet_stderr, region_around
from headsplat.runtime.errors import UserError, one_line
from headsplat.runtime.regular import open_regular
from headsplat.runtime.zips import BROKEN

with quiet_stderr():
    import mediapipe
    from mediapipe.tasks.python import BaseOptions
    from mediapipe.tasks.python.vision import FaceLandmarker, FaceLandmarkerOptions

BLENDSHAPES = 52
MEMBERS = ("face_detector.tflite", "face_landmarks_detector.tflite", "face_blendshapes.tflite")
_AROUND = 2.0  # the detector inside wants to see the face with some of its surroundings
_MAX_FACES = 3


def check_task(path: Path, wanted: Sequence[str] = MEMBERS) -> None:
    """See that a file is a face landmarker, with blendshapes unless it `wanted` less.

    Raises:
        UserError: not a zip, or a model is missing from it.
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
    """`face_landmarker.task` behind the interface of `FaceModels`; stateless likewise.

    It finds faces and their points in one go, so `detect` answers with the regions of the points,
    and `landmarks` looks around a region for the face nearest to it.

    Args:
        path: of the `.task` file.
        blendshapes: whether the bundle's blendshape model runs too.

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
        """Faces in an RGB image, uint8 (H, W, 3); there is one model for near and far."""
        return [Detection(region_around(points), 1.0) for points, _ in self._faces(image)]

    def landmarks(self, image: np.ndarray, region: Region) -> tuple[np.ndarray | None, float]:
        """The 478 points of the face in `region`, and 1 where there is one.

        Returns:
            points float32 (478, 3) in pixels of `image` (z on the same scale, towards the
            camera is negative), or None where the model sees no face; and the presence.
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
        """(52,) float32 scores of a face that `landmarks` lately gave, by its very array."""
        return next(scores for known, scores in reversed(self._scores) if known is points)

    def _faces(self, image: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Points (478, 3) in pixels, and scores (52,), NaN without the model, of every face."""
        height, width = image.shape[:2]
        wrapped = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=image)
        answer = self._landmarker.detect(wrapped)
        faces = []
        for number, marks in enumerate(answer.face_landmarks):
            flat = [v for mark in marks for v in (mark.x, mark.y, mark.z)]
            points = np.array(flat, np.float32).reshape(POINTS, 3)
            points *= np.array([width, height, width], np.float32)
            points[:, :2] += 0.5  # it counts from the center of the first pixel, as the mesh does
            scores = np.full(BLENDSHAPES, np.nan, np.float32)
            if answer.face_blendshapes:
                scores[:] = [category.score for category in answer.face_blendshapes[number]]
            faces.append((points, scores))
        return faces
