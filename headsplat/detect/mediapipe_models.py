"""The networks of MediaPipe's face landmarker: detector, 478-point mesh and blendshape scores."""

import zipfile
from dataclasses import dataclass

import cv2
import numpy as np

from headsplat.detect.blaze_face import BlazeFace
from headsplat.networks.model_files import model_file
from headsplat.networks.tflite import TfliteNetwork

POINTS = 478  # 468 of the mesh and 5 per iris
MESH_PIXELS = 256
BLENDSHAPES = 52
# Points that the blendshape network reads.
SCORED = (
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66,
    67, 70, 78, 80, 81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144,
    145, 146, 148, 149, 150, 152, 153, 154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173,
    176, 178, 181, 185, 191, 195, 197, 234, 246, 249, 251, 263, 267, 269, 270, 276, 282, 283, 284,
    285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314, 317, 318, 321, 323, 324, 332,
    334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382, 384, 385, 386,
    387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466, *range(468, 478),
)  # fmt: skip
EYE_CORNERS = (33, 263)  # outer ones, right and left
REGION_SCALE = 1.5  # side of the mesh network's region over that of the face's box


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
    """The three networks of `face_landmarker.task`, without state between images.

    Raises:
        UserError: the file is missing or is another one.
    """

    def __init__(self) -> None:
        with zipfile.ZipFile(model_file("face_landmarker.task")) as bundle:
            detector, mesh, scores = (
                bundle.read(f"face_{name}.tflite")
                for name in ("detector", "landmarks_detector", "blendshapes")
            )
        self._detector = BlazeFace(detector)
        self._mesh, self._scores = TfliteNetwork(mesh), TfliteNetwork(scores)

    def detect(self, image: np.ndarray) -> list[Detection]:
        """Faces in an RGB image, uint8 (H, W, 3), best first."""
        found = []
        for (center, size, right, left, *_), score in zip(*self._detector(image), strict=True):
            across = left - right
            angle = float(np.arctan2(across[1], across[0]))
            side = REGION_SCALE * float(size.max())
            found.append(Detection(Region(*map(float, center), side, angle), float(score)))
        return found

    def landmarks(self, image: np.ndarray, region: Region) -> tuple[np.ndarray, float]:
        """Landmarks of the face in `region`, and the presence score.

        Returns:
            Points float32 (478, 3) in px of `image` (z on the same scale, negative towards the
            camera); and the presence of a face in [0, 1].
        """
        scale = region.side / MESH_PIXELS
        turn = scale * np.array(
            [[np.cos(region.angle), -np.sin(region.angle)],
             [np.sin(region.angle), np.cos(region.angle)]]
        )  # fmt: skip
        corner = np.array([region.x, region.y]) - turn @ [MESH_PIXELS / 2, MESH_PIXELS / 2]
        flat, presence, _ = self._mesh(_warped(image, turn, corner)[None])
        points = flat.reshape(POINTS, 3)
        result = np.empty_like(points)
        result[:, :2] = points[:, :2] @ turn.T + corner
        result[:, 2] = points[:, 2] * scale
        return result, float(1 / (1 + np.exp(-presence.item())))

    def blendshapes(self, points: np.ndarray) -> np.ndarray:
        """ARKit-like scores (52,) in [0, 1] of a face, of which the first is "neutral".

        Args:
            points: (478, 3) px.
        """
        return self._scores(points[None, SCORED, :2])[0]


def region_around(points: np.ndarray) -> Region:
    """The region for the next image, from the points (478, 3) of this one."""
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    x, y = (low + high) / 2
    across = points[EYE_CORNERS[1], :2] - points[EYE_CORNERS[0], :2]
    angle = float(np.arctan2(across[1], across[0]))
    return Region(float(x), float(y), REGION_SCALE * float((high - low).max()), angle)


def _warped(image: np.ndarray, turn: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """The network's input: float32 (256, 256, 3) in [0, 1].

    Args:
        image: RGB uint8 (H, W, 3).
        turn: (2, 2), from pixels of the input to pixels of the image.
        corner: (2,) px, the input's upper left corner in the image.
    """
    scale = float(np.hypot(*turn[0]))
    factor = int(scale)
    if factor > 1:  # means of blocks, against aliasing
        image, turn, corner = _shrunk(image, turn, corner, factor)
    # OpenCV's origin is the center of the first pixel.
    offset = corner + turn @ [0.5, 0.5] - 0.5
    window = cv2.warpAffine(
        image, np.column_stack([turn, offset]), (MESH_PIXELS, MESH_PIXELS),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    return window.astype(np.float32) * np.float32(1 / 255)


def _shrunk(
    image: np.ndarray, turn: np.ndarray, corner: np.ndarray, factor: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The part of the image around the input, in which a pixel is the mean of a block."""
    corners = corner + np.array([[0, 0], [0, 1], [1, 0], [1, 1]]) * MESH_PIXELS @ turn.T
    height, width = image.shape[:2]
    size = np.array([width, height])
    low = np.clip(np.floor(corners.min(0)).astype(int) - factor, 0, np.maximum(size - factor, 0))
    high = np.clip(np.ceil(corners.max(0)).astype(int) + factor, low + factor, size)
    low -= low % factor
    count = np.maximum((high - low) // factor, 1)
    high = low + count * factor
    blocks = image[low[1] : high[1], low[0] : high[0]]
    small = cv2.resize(blocks, (int(count[0]), int(count[1])), interpolation=cv2.INTER_AREA)
    return small, turn / factor, (corner - low) / factor
