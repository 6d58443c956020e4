"""Adapter to the face models inside the MediaPipe wheel: detection and the 478-point mesh.

Everything that knows MediaPipe's interface is here; another implementation (the Tasks face
landmarker) only has to offer `detect` and `landmarks`.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType

import cv2
import numpy as np

POINTS = 478  # 468 of the mesh and 5 per iris
MESH_PIXELS = 288  # the mesh samples 192 x 192; from twice this on, a region is averaged first
DETECTOR_PIXELS = 320  # the detectors sample 128 x 128 and 192 x 192; likewise
LANDMARK_GRAPH = """
input_stream: "image"
input_stream: "roi"
input_side_packet: "with_attention"
output_stream: "landmarks"
node {
  calculator: "FaceLandmarkCpu"
  input_stream: "IMAGE:image"
  input_stream: "ROI:roi"
  input_side_packet: "WITH_ATTENTION:with_attention"
  output_stream: "LANDMARKS:landmarks"
}
"""
PRESENCE = "facelandmarkcpu__face_presence_score"  # inside the graph above


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Discard what C++ libraries write to standard error while they start."""
    # The C++ libraries announce themselves on file descriptor 2 before any logger of theirs
    # can be configured; errors come as exceptions, so nothing is lost while starting up.
    sys.stderr.flush()
    saved = os.dup(2)
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(sink)


@contextmanager
def _without_matplotlib() -> Iterator[None]:
    # MediaPipe's drawing tools want it, and loading it takes longer than all the rest together,
    # in the process of every chunk.
    names = [n for n in ("matplotlib", "matplotlib.pyplot") if n not in sys.modules]
    sys.modules.update({name: ModuleType(name) for name in names})
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]


os.environ.setdefault("GLOG_minloglevel", "2")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
with quiet_stderr(), _without_matplotlib():
    from mediapipe.framework.formats.rect_pb2 import NormalizedRect
    from mediapipe.python.solution_base import PacketDataType, SolutionBase
    from mediapipe.python.solutions.face_detection import FaceDetection


@dataclass(frozen=True)
class Region:
    """Where the mesh model looks: a square turned by `angle` (radians), in pixels."""

    x: float
    y: float
    side: float
    angle: float


@dataclass(frozen=True)
class Detection:
    """A detected face: its region, and the detector's score in [0, 1]."""

    region: Region
    score: float


class FaceModels:
    """The models of the wheel, stateless: nothing is remembered from image to image."""

    def __init__(self) -> None:
        with quiet_stderr():
            self._near = FaceDetection(model_selection=0, min_detection_confidence=0.5)
            self._far = FaceDetection(model_selection=1, min_detection_confidence=0.5)
            self._mesh = SolutionBase(
                graph_config=LANDMARK_GRAPH,
                side_inputs={"with_attention": True},
                outputs=["landmarks", PRESENCE],
                stream_type_hints={
                    "image": PacketDataType.IMAGE,
                    "roi": PacketDataType.PROTO,
                    "landmarks": PacketDataType.PROTO,
                },
            )
            # The first run of each model prints as well.
            blank = np.zeros((64, 64, 3), np.uint8)
            self.detect(blank)
            self.detect(blank, far=True)
            self.landmarks(blank, Region(32, 32, 48, 0))

    def detect(self, image: np.ndarray, far: bool = False) -> list[Detection]:
        """Faces in an RGB image, uint8 (H, W, 3); `far` looks for smaller ones, slower."""
        height, width = image.shape[:2]
        small = _shrink(image, max(image.shape[:2]) // DETECTOR_PIXELS)
        found = (self._far if far else self._near).process(small).detections or []
        result = []
        for face in found:
            box = face.location_data.relative_bounding_box
            eyes = face.location_data.relative_keypoints
            angle = np.arctan2((eyes[1].y - eyes[0].y) * height, (eyes[1].x - eyes[0].x) * width)
            region = Region(
                (box.xmin + box.width / 2) * width,
                (box.ymin + box.height / 2) * height,
                1.5 * max(box.width * width, box.height * height),
                float(angle),
            )
            result.append(Detection(region, face.score[0]))
        return result

    def landmarks(self, image: np.ndarray, region: Region) -> tuple[np.ndarray | None, float]:
        """The 478 points of the face in `region`, and the presence of a face in [0, 1].

        Returns:
            points float32 (478, 3) in pixels of `image` (z on the same scale, towards the
            camera is negative), or None where the model sees no face; and the presence.
        """
        window, x0, y0 = _window(image, region)
        if window.size == 0:
            return None, 0.0
        factor = max(1, int(region.side) // MESH_PIXELS)
        small = _shrink(window, factor)
        height, width = small.shape[0] * factor, small.shape[1] * factor
        roi = NormalizedRect(
            x_center=(region.x - x0) / width,
            y_center=(region.y - y0) / height,
            width=region.side / width,
            height=region.side / height,
            rotation=region.angle,
        )
        answer = self._mesh.process({"image": small, "roi": roi})
        presence = float(getattr(answer, PRESENCE))
        if answer.landmarks is None:
            return None, presence
        flat = [v for point in answer.landmarks.landmark for v in (point.x, point.y, point.z)]
        points = np.array(flat, np.float32).reshape(POINTS, 3)
        points *= np.array([width, height, width], np.float32)
        # The mesh counts from the center of the first pixel, we from its corner; measured by
        # turning images by 180 degrees, which mirrors the points about W - 1 instead of W.
        points[:, :2] += np.array([x0, y0], np.float32) + 0.5 * factor
        return points, presence


def region_around(points: np.ndarray) -> Region:
    """The region for the next image from the points (478, 3) of this one."""
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    x, y = (low + high) / 2
    across = points[263, :2] - points[33, :2]  # outer eye corners, right to left
    angle = float(np.arctan2(across[1], across[0]))
    return Region(float(x), float(y), 1.5 * float((high - low).max()), angle)


def _window(image: np.ndarray, region: Region) -> tuple[np.ndarray, int, int]:
    """The part of `image` that holds the turned square, and its corner."""
    height, width = image.shape[:2]
    reach = region.side * 0.71 + 4  # half a diagonal
    x0, x1 = max(0, int(region.x - reach)), min(width, int(region.x + reach) + 1)
    y0, y1 = max(0, int(region.y - reach)), min(height, int(region.y + reach) + 1)
    return np.ascontiguousarray(image[y0 : max(y0, y1), x0 : max(x0, x1)]), x0, y0


def _shrink(image: np.ndarray, factor: int) -> np.ndarray:
    """Means of factor x factor blocks, so that nothing aliases; a rest at the edge is cut."""
    height, width = image.shape[0] // max(1, factor), image.shape[1] // max(1, factor)
    if factor <= 1 or not height or not width:
        return np.ascontiguousarray(image)
    blocks = image[: height * factor, : width * factor]
    return cv2.resize(blocks, (width, height), interpolation=cv2.INTER_AREA)
