"""Face tracking over consecutive images: detection, then the mesh model around the last face."""

from collections.abc import Iterator

import numpy as np

from headsplat.detect.mediapipe_models import Detection, FaceModels, Region, region_around
from headsplat.detect.mediapipe_tasks import TaskModels

MAX_FACES = 3
PRESENT = 0.5  # least presence score of the mesh model for a face
DETECT_EVERY = 10  # images between scheduled runs of the detector
SETTLE = 3  # mesh passes on a new detection until its region converges
# The mesh network's regions lie on a grid, on which two runs that differ by less than a step soon
# meet. Steps of the place in sides, of the side as a ratio, and of the angle in radians.
PLACE_STEP, SIDE_STEP, ANGLE_STEP = 1 / 1024, 0.0025, np.radians(1 / 16)
SEARCH_AROUND = 4.0  # size of the search window for a lost face, in sides of its region

Window = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels


def find_face(models: FaceModels | TaskModels, image: np.ndarray) -> np.ndarray | None:
    """Landmarks (478, 3) in px of the best face of one image, RGB uint8 (H, W, 3), or None."""
    found = FaceTracker(models).step(1, image)
    return found[0][0] if found else None


class FaceTracker:
    """Tracks up to three faces through consecutive images.

    The mesh of one image gives the region in the next. The detector runs at every tenth id from 1
    and whenever no face is tracked: on the whole image, then in a window around the last lost
    face. At every tenth id it then runs on overlapping tiles, to find small faces in large images.
    The schedule depends only on the id, and the regions of two runs become equal after a few
    images. So a chunk after warm-up images has the same faces and points as a run from the start.
    """

    def __init__(self, models: FaceModels | TaskModels) -> None:
        self._models = models
        self._regions: list[Region] = []
        self._lost: Region | None = None

    def step(self, frame_id: int, image: np.ndarray) -> list[tuple[np.ndarray, float]]:
        """Detect the faces of the next image.

        Args:
            frame_id: 1-based id.
            image: RGB uint8 (H, W, 3).

        Returns:
            (points (478, 3) in px, score in [0, 1]) per face, the longest tracked first.
        """
        faces: list[tuple[np.ndarray, float]] = []
        for region in self._regions:
            found = self._follow(image, region)
            if found is None:
                self._lost = region
            elif _is_new(region_around(found[0]), faces):
                faces.append(found)
        scheduled = frame_id % DETECT_EVERY == 1
        if scheduled or not faces:
            for windows in self._searches(image, scheduled):
                self._add(image, windows, faces)
                if faces:
                    break
        self._regions = [region_around(points) for points, _ in faces]
        return faces

    def _follow(self, image: np.ndarray, region: Region) -> tuple[np.ndarray, float] | None:
        points, presence = self._models.landmarks(image, _on_grid(region))
        return None if presence < PRESENT else (points, presence)

    def _settle(self, image: np.ndarray, region: Region) -> tuple[np.ndarray, float] | None:
        found = None
        for _ in range(SETTLE):
            found = self._follow(image, region)
            if found is None:
                return None
            region = region_around(found[0])
        return found

    def _searches(self, image: np.ndarray, scheduled: bool) -> Iterator[list[Window]]:
        """Windows to search together; the next ones count if no face was in these."""
        height, width = image.shape[:2]
        yield [(0, 0, width, height)]
        if self._lost is not None:
            yield [_around(image, self._lost)]
        if scheduled:
            yield _tiles(image)

    def _add(
        self, image: np.ndarray, windows: list[Window], faces: list[tuple[np.ndarray, float]]
    ) -> None:
        """Append the new faces in some windows that the mesh network confirms."""
        found = [d for window in windows for d in self._detect_in(image, window)]
        for detection in sorted(found, key=lambda detection: -detection.score):
            if len(faces) == MAX_FACES or not _is_new(detection.region, faces):
                continue
            face = self._settle(image, detection.region)
            if face is not None and _is_new(region_around(face[0]), faces):
                faces.append(face)

    def _detect_in(self, image: np.ndarray, window: Window) -> list[Detection]:
        x0, y0, x1, y1 = window
        return [
            Detection(
                Region(d.region.x + x0, d.region.y + y0, d.region.side, d.region.angle), d.score
            )
            for d in self._models.detect(image[y0:y1, x0:x1])
        ]


def _on_grid(region: Region) -> Region:
    """The nearest region of the grid."""
    side = float(np.exp(round(np.log(max(region.side, 1.0)) / SIDE_STEP) * SIDE_STEP))
    step = side * PLACE_STEP
    return Region(
        round(region.x / step) * step,
        round(region.y / step) * step,
        side,
        round(region.angle / ANGLE_STEP) * ANGLE_STEP,
    )


def _is_new(region: Region, faces: list[tuple[np.ndarray, float]]) -> bool:
    """Whether no face of the list is near `region`."""
    for points, _ in faces:
        other = region_around(points)
        distance = np.hypot(region.x - other.x, region.y - other.y)
        if distance < 0.35 * max(region.side, other.side):
            return False
    return True


def _around(image: np.ndarray, region: Region) -> Window:
    """The part of the image around a lost face."""
    height, width = image.shape[:2]
    reach = SEARCH_AROUND / 2 * region.side
    x, y = np.clip(region.x, 0, width), np.clip(region.y, 0, height)
    return (
        int(max(0, x - reach)),
        int(max(0, y - reach)),
        int(min(width, x + reach)) or 1,
        int(min(height, y + reach)) or 1,
    )


def _tiles(image: np.ndarray) -> list[Window]:
    """Squares of the shorter side and of half of it, each overlapping the next by half."""
    height, width = image.shape[:2]
    sides = (min(height, width), max(1, min(height, width) // 2))
    return [
        (x, y, x + side, y + side)
        for side in sides
        for y in range(0, height - side + 1, max(1, side // 2))
        for x in range(0, width - side + 1, max(1, side // 2))
    ]
