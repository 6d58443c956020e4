"""Optional detector: MediaPipe's own Tasks face landmarker, with the interface of `FaceModels`."""

import re
import weakref
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module, metadata
from types import ModuleType

import numpy as np

from headsplat.detect.mediapipe_models import BLENDSHAPES, POINTS, Detection, Region, region_around
from headsplat.networks.model_files import model_file
from headsplat.networks.tflite import quiet_stderr
from headsplat.runtime.errors import UserError, one_line

# Older releases need an old numpy; 0.10.35 connects to a server of Google when it closes.
FIRST, LAST = (0, 10, 30), (0, 10, 33)
MAX_FACES = 3  # in one image
AROUND = 2.0  # side of a crop over that of its region, because the detector runs in it
_CURE = "see requirements-optional.txt, or set detect.model to litert"


class TaskModels:
    """`face_landmarker.task` in MediaPipe's own code, without state between images.

    The landmarker detects faces and their landmarks in one step. So `detect` returns the regions of
    the landmarks, and `landmarks` the face nearest to the center of a region. An object must not
    live until the interpreter ends, because the package cannot close it then.

    Raises:
        UserError: the package is absent, too old or too new, or does not load; or the model file
            is missing or is another one.
    """

    def __init__(self) -> None:
        model = model_file("face_landmarker.task").read_bytes()
        with quiet_stderr():
            self._mediapipe = _package()
            vision = self._mediapipe.tasks.vision
            options = vision.FaceLandmarkerOptions(
                base_options=self._mediapipe.tasks.BaseOptions(model_asset_buffer=model),
                num_faces=MAX_FACES,
                output_face_blendshapes=True,
            )
            try:
                self._landmarker = vision.FaceLandmarker.create_from_options(options)
                # It is part of a cycle, and its own destructor fails in an interpreter that ends.
                weakref.finalize(self, self._landmarker.close).atexit = False
                self._faces(np.zeros((64, 64, 3), np.uint8))  # the first run also prints
            except (RuntimeError, ValueError, OSError) as error:
                raise _refused(f"it cannot start ({one_line(error)})") from error
        self._scores: dict[int, np.ndarray] = {}  # of the arrays of points that are alive

    def detect(self, image: np.ndarray) -> list[Detection]:
        """Faces in an RGB image, uint8 (H, W, 3); their score is 1, because it gives none."""
        return [Detection(region_around(points), 1.0) for points, _ in self._faces(image)]

    def landmarks(self, image: np.ndarray, region: Region) -> tuple[np.ndarray, float]:
        """Landmarks of the face in `region`, and whether there is one.

        Returns:
            Points float32 (478, 3) in px of `image` (z on the same scale, negative towards the
            camera), NaN without a face; and 1 or 0.
        """
        height, width = image.shape[:2]
        reach = AROUND / 2 * region.side
        x0, y0 = max(0, int(region.x - reach)), max(0, int(region.y - reach))
        x1, y1 = min(width, int(region.x + reach) + 1), min(height, int(region.y + reach) + 1)
        best, nearest = None, region.side / 2
        for points, scores in self._faces(image[y0:y1, x0:x1]) if x0 < x1 and y0 < y1 else ():
            points[:, :2] += (x0, y0)
            found = region_around(points)
            distance = float(np.hypot(found.x - region.x, found.y - region.y))
            if distance < nearest:
                best, nearest = (points, scores), distance
        if best is None:
            return np.full((POINTS, 3), np.nan, np.float32), 0.0
        points, scores = best
        self._scores[id(points)] = scores
        weakref.finalize(points, self._scores.pop, id(points)).atexit = False
        return points, 1.0

    def blendshapes(self, points: np.ndarray) -> np.ndarray:
        """ARKit-like scores (52,) in [0, 1] of a face, of which the first is "neutral".

        Args:
            points: the array itself that `landmarks` returned.
        """
        return self._scores[id(points)]

    def _faces(self, image: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Points (478, 3) in px and scores (52,) of every face in an RGB uint8 (H, W, 3) image."""
        height, width = image.shape[:2]
        output = self._landmarker.detect(
            self._mediapipe.Image(
                image_format=self._mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image)
            )
        )
        faces = []
        for marks, scored in zip(output.face_landmarks, output.face_blendshapes, strict=True):
            points = np.array([(mark.x, mark.y, mark.z) for mark in marks], np.float32)
            points = points.reshape(POINTS, 3) * np.array([width, height, width], np.float32)
            scores = np.array([category.score for category in scored], np.float32)
            faces.append((points, scores.reshape(BLENDSHAPES)))
        return faces


def _package() -> ModuleType:
    """The package `mediapipe` of a release with this interface.

    Raises:
        UserError: it is absent, too old or too new, or does not load.
    """
    try:
        version = metadata.version("mediapipe")
    except metadata.PackageNotFoundError as error:
        raise _refused("it is not installed") from error
    numbers = tuple(map(int, re.findall(r"\d+", version)[:3]))
    if not FIRST <= numbers <= LAST:
        raise _refused(f"{version} is installed; only 0.10.30 to 0.10.33 are taken")
    try:
        # Its import keeps the frames of all callers, and what they hold, alive. A thread has none.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(import_module, "mediapipe").result()
    except (ImportError, OSError) as error:
        raise _refused(f"{version} does not load ({one_line(error)})") from error


def _refused(why: str) -> UserError:
    return UserError(f"detect.model: mediapipe: the package 'mediapipe': {why}; {_CURE}")
