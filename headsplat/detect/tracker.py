"""All faces of a video, image by image: found by detection, then followed by the mesh."""

import numpy as np

from headsplat.detect.mediapipe_models import Detection, FaceModels, Region, region_around

MAX_FACES = 3
PRESENT = 0.5  # presence of the mesh model from which a face counts as seen
LOOK_EVERY = 10  # images between looks for faces that nothing follows yet
SETTLE = 3  # passes of the mesh on a fresh detection until its region has settled
SEARCH_AROUND = 4.0  # a lost face is sought in a window this many times its region


class FaceTracker:
    """Follow up to three faces through consecutive images.

    The mesh of the last image says where to look in the next one. A look for new faces
    happens at every tenth id and whenever no face is followed: over the whole image, in
    a window around the place where the last face was lost, and at every tenth id in
    overlapping tiles, so that small faces in large images are found. The schedule depends
    on the id alone, so a chunk that starts `LOOK_EVERY` images early comes to the same
    faces as a run from the start.
    """

    def __init__(self, models: FaceModels) -> None:
        self._models = models
        self._regions: list[Region] = []
        self._lost: Region | None = None

    def step(self, frame_id: int, image: np.ndarray) -> list[tuple[np.ndarray, float]]:
        """Faces of the next image.

        Args:
            frame_id: 1-based id.
            image: RGB uint8 (H, W, 3).

        Returns:
            (points (478, 3) in pixels of the image, score in [0, 1]) per face, the longest
            followed first.
        """
        faces: list[tuple[np.ndarray, float]] = []
        for region in self._regions:
            found = self._follow(image, region)
            if found is None:
                self._lost = region
            elif _is_new(region_around(found[0]), faces):
                faces.append(found)
        scheduled = frame_id % LOOK_EVERY == 0
        if (scheduled or not faces) and len(faces) < MAX_FACES:
            for detection in self._look(image, tiles=scheduled and not faces):
                if len(faces) == MAX_FACES or not _is_new(detection.region, faces):
                    continue
                found = self._settle(image, detection.region)
                if found is not None and _is_new(region_around(found[0]), faces):
                    faces.append(found)
        self._regions = [region_around(points) for points, _ in faces]
        return faces

    def _follow(self, image: np.ndarray, region: Region) -> tuple[np.ndarray, float] | None:
        points, presence = self._models.landmarks(image, region)
        return None if points is None or presence < PRESENT else (points, presence)

    def _settle(self, image: np.ndarray, region: Region) -> tuple[np.ndarray, float] | None:
        found = None
        for _ in range(SETTLE):
            found = self._follow(image, region)
            if found is None:
                return None
            region = region_around(found[0])
        return found

    def _look(self, image: np.ndarray, tiles: bool) -> list[Detection]:
        found = self._models.detect(image, far=True)
        if not found and self._lost is not None:
            found = self._detect_in(image, _square(image, self._lost))
        if not found and tiles:
            found = [d for tile in _tiles(image) for d in self._detect_in(image, tile)]
        return sorted(found, key=lambda detection: -detection.score)

    def _detect_in(self, image: np.ndarray, window: tuple[int, int, int, int]) -> list[Detection]:
        x0, y0, x1, y1 = window
        return [
            Detection(
                Region(d.region.x + x0, d.region.y + y0, d.region.side, d.region.angle), d.score
            )
            for d in self._models.detect(image[y0:y1, x0:x1], far=True)
        ]


def _is_new(region: Region, faces: list[tuple[np.ndarray, float]]) -> bool:
    """Whether no face of the list lies at about the place of `region`."""
    for points, _ in faces:
        other = region_around(points)
        distance = np.hypot(region.x - other.x, region.y - other.y)
        if distance < 0.35 * max(region.side, other.side):
            return False
    return True


def _square(image: np.ndarray, region: Region) -> tuple[int, int, int, int]:
    height, width = image.shape[:2]
    reach = SEARCH_AROUND / 2 * region.side
    x, y = np.clip(region.x, 0, width), np.clip(region.y, 0, height)
    return (
        int(max(0, x - reach)),
        int(max(0, y - reach)),
        int(min(width, x + reach)) or 1,
        int(min(height, y + reach)) or 1,
    )


def _tiles(image: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Squares of half the shorter side that overlap by half."""
    height, width = image.shape[:2]
    side = max(1, min(height, width) // 2)
    return [
        (x, y, x + side, y + side)
        for y in range(0, height - side + 1, max(1, side // 2))
        for x in range(0, width - side + 1, max(1, side // 2))
    ]
