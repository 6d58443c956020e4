"""Detect stage: face landmarks of one chunk of a video."""

from pathlib import Path

import cv2
import numpy as np

from headsplat.detect.face_alignment_points import POINTS_68, FaceAlignmentPoints
from headsplat.detect.face_colors import SKIN_POINTS, face_colors
from headsplat.detect.mediapipe_models import BLENDSHAPES, POINTS, FaceModels
from headsplat.detect.mediapipe_tasks import TaskModels
from headsplat.detect.tracker import DETECT_EVERY, FaceTracker
from headsplat.frames.ids import chunk_bounds
from headsplat.runtime.files import write_npz
from headsplat.runtime.progress import progress
from headsplat.video.decode import read_images
from headsplat.video.info import VideoInfo

# Images before the chunk that are tracked but not written. They include one scheduled detection,
# and the regions become those of a run from the start; that took at most 14 images.
WARM_UP = DETECT_EVERY + 6
SHARPNESS_PIXELS = 128  # sharpness is measured at this size, for independence of the face's size


def detect_chunk(
    video: Path,
    info_path: Path,
    chunk: int,
    n_chunks: int,
    out: Path,
    second: str = "none",
    model: str = "litert",
) -> None:
    """Detect all faces in the frames of a chunk and write them as `.npz`.

    Arrays: `ids` (n,) of the frames. Per face: `face_frame` (m,) frame id; `faces` (m, 478, 3) in
    px of the full upright image (continuous, z on the same scale); `score` (m,) presence in
    [0, 1], always 1 from MediaPipe; `sharpness` (m,); `colors` (m, 468, 3) uint8 RGB at the mesh
    points; `blendshapes` (m, 52) in [0, 1]. With a second detector also `points68` (m, 68, 2) in
    px, NaN where it finds nothing.

    Args:
        video: the subject's video.
        info_path: its `video.json`.
        chunk: number of the chunk, from 0.
        n_chunks: number of chunks.
        out: `.npz` to write.
        second: `face_alignment` or `none`.
        model: `litert` or `mediapipe`, see `DetectOptions`.

    Raises:
        UserError: the video is not the one that was probed, or a detector cannot run.
    """
    info = VideoInfo.load(info_path)
    first, stop = chunk_bounds(info.n_frames, n_chunks, chunk)
    rows: list[tuple[int, np.ndarray, float, float, np.ndarray]] = []
    scores: list[np.ndarray] = []
    points68: list[np.ndarray] = []
    if first < stop:
        cv2.setNumThreads(1)
        models = TaskModels() if model == "mediapipe" else FaceModels()
        second_detector = FaceAlignmentPoints() if second == "face_alignment" else None
        tracker = FaceTracker(models)
        start = max(1, first - WARM_UP)
        images = read_images(video, info, start, stop, fine=False)
        for frame_id, image in progress(images, stop - start, f"landmarks {chunk}"):
            for points, score in tracker.step(frame_id, image):
                if frame_id < first:
                    continue
                sharpness, colors = face_sharpness(image, points), face_colors(image, points)
                rows.append((frame_id, points, score, sharpness, colors))
                scores.append(models.blendshapes(points))
                if second_detector is not None:
                    points68.append(second_detector.points(image, points))
    extras = {}
    if second == "face_alignment":
        extras["points68"] = np.array(points68, np.float32).reshape(-1, POINTS_68, 2)
    write_npz(
        out,
        ids=np.arange(first, stop, dtype=np.int32),
        face_frame=np.array([row[0] for row in rows], np.int32),
        faces=np.array([row[1] for row in rows], np.float32).reshape(-1, POINTS, 3),
        score=np.array([row[2] for row in rows], np.float32),
        sharpness=np.array([row[3] for row in rows], np.float32),
        blendshapes=np.array(scores, np.float32).reshape(-1, BLENDSHAPES),
        colors=np.array([row[4] for row in rows], np.uint8).reshape(-1, SKIN_POINTS, 3),
        **extras,
    )


def face_sharpness(image: np.ndarray, points: np.ndarray) -> float:
    """Sharpness: mean square of the Laplacian divided by the variance of gray values.

    The face box is resized to 128 x 128 pixels first. The ratio does not depend on contrast.

    Args:
        image: RGB uint8 (H, W, 3).
        points: (478, 3) px.
    """
    height, width = image.shape[:2]
    x0, y0 = np.floor(points[:, :2].min(axis=0)).astype(int)
    x1, y1 = np.ceil(points[:, :2].max(axis=0)).astype(int)
    box = image[max(0, y0) : min(height, y1), max(0, x0) : min(width, x1)]
    if min(box.shape[:2]) < 2:
        return 0.0
    gray = cv2.cvtColor(np.ascontiguousarray(box), cv2.COLOR_RGB2GRAY)
    way = cv2.INTER_AREA if min(gray.shape) >= SHARPNESS_PIXELS else cv2.INTER_LINEAR
    gray = cv2.resize(gray, (SHARPNESS_PIXELS, SHARPNESS_PIXELS), interpolation=way)
    gray = gray.astype(np.float32)
    return float(np.mean(cv2.Laplacian(gray, cv2.CV_32F) ** 2) / max(gray.var(), 1.0))
