"""Adapter to the face models in MediaPipe's wheel: face detector and 478-point face mesh.

Another implementation, such as the Tasks face landmarker, only needs `detect` and `landmarks`.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from headsplat.networks.mediapipe_wheel import loading, quiet_stderr

POINTS = 478  # 468 of the mesh and 5 per iris
MESH_PIXELS = 288  # the mesh model's input is 192 x 192; larger regions are shrunk to this first
DETECTOR_PIXELS = 320  # the detectors' inputs are 128 x 128 and 192 x 192; likewise
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


with loading():
    from mediapipe.framework.formats.rect_pb2 import NormalizedRect
    from mediapipe.python.solution_base import PacketDataType, SolutionBase
    from mediapipe.python.solutions.face_detection import FaceDetection


@dataclass(frozen=True)
class Region:
    """Input region of the mesh model: a square in pixels, rotated by `angle` (radians)."""

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
    """The models in MediaPipe's wheel, without state between images."""

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
            # The first run of each model also prints, so it is done here.
            blank = np.zeros((64, 64, 3), np.uint8)
            self.detect(blank)
            self.detect(blank, far=True)
            self.landmarks(blank, Region(32, 32, 48, 0))

    def detect(self, image: np.ndarray, far: bool = False) -> list[Detection]:
        """Faces in an RGB image, uint8 (H, W, 3); `far` also finds smaller ones, slower."""
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
        """Landmarks of the face in `region`, and the presence score.

        Returns:
            Points float32 (478, 3) in px of `image` (z on the same scale, negative towards the
            camera), or None without a face; and the presence of a face in [0, 1].
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
        output = self._mesh.process({"image": small, "roi": roi})
        presence = float(getattr(output, PRESENCE))
        if output.landmarks is None:
            return None, presence
        flat = [v for point in output.landmarks.landmark for v in (point.x, point.y, point.z)]
        points = np.array(flat, np.float32).reshape(POINTS, 3)
        points *= np.array([width, height, width], np.float32)
        # The model's origin is the center of the first pixel, ours its corner. OffsetFit by
        # rotating images by 180 degrees, which mirrors the points about W - 1 instead of W.
        points[:, :2] += np.array([x0, y0], np.float32) + 0.5 * factor
        return points, presence


def region_around(points: np.ndarray) -> Region:
    """The region for the next image, from the points (478, 3) of this one."""
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    x, y = (low + high) / 2
    across = points[263, :2] - points[33, :2]  # outer eye corners, right to left
    angle = float(np.arctan2(across[1], across[0]))
    return Region(float(x), float(y), 1.5 * float((high - low).max()), angle)


def _window(image: np.ndarray, region: Region) -> tuple[np.ndarray, int, int]:
    """The part of `image` that contains the rotated square, and its upper left corner (x, y)."""
    height, width = image.shape[:2]
    reach = region.side * 0.71 + 4  # half a diagonal
    x0, x1 = max(0, int(region.x - reach)), min(width, int(region.x + reach) + 1)
    y0, y1 = max(0, int(region.y - reach)), min(height, int(region.y + reach) + 1)
    return np.ascontiguousarray(image[y0 : max(y0, y1), x0 : max(x0, x1)]), x0, y0


def _shrink(image: np.ndarray, factor: int) -> np.ndarray:
    """Means of factor x factor blocks, against aliasing; incomplete blocks are cut off."""
    height, width = image.shape[0] // max(1, factor), image.shape[1] // max(1, factor)
    if factor <= 1 or not height or not width:
        return np.ascontiguousarray(image)
    blocks = image[: height * factor, : width * factor]
    return cv2.resize(blocks, (width, height), interpolation=cv2.INTER_AREA)
