"""Landmarks of one chunk of a video: the detect stage."""

from pathlib import Path

import cv2
import numpy as np

from headsplat.detect.colors import SKIN_POINTS, face_colors
from headsplat.detect.face_alignment_points import POINTS_68, FaceAlignmentPoints
from headsplat.detect.mediapipe_models import POINTS, FaceModels
from headsplat.detect.task_models import BLENDSHAPES, TaskModels
from headsplat.detect.tracker import LOOK_EVERY, FaceTracker
from headsplat.frames.chunks import chunk_bounds
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import write_npz
from headsplat.runtime.progress import progress
from headsplat.video.decode import read_images
from headsplat.video.info import VideoInfo

# Images before the chunk that are tracked and thrown away: one look for new faces is among
# them, and the regions have forgotten where following began.
WARM_UP = LOOK_EVERY + 2
SHARPNESS_PIXELS = 128  # faces are compared at this size, so that sharpness is not size


def detect_chunk(
    video: Path,
    info_path: Path,
    chunk: int,
    n_chunks: int,
    out: Path,
    model: str = "mediapipe",
    weights: Path | None = None,
    second: str = "none",
) -> None:
    """Find all faces in the frames of a chunk and publish them.

    Writes `ids` (n,), and per face `face_frame` (m,) its id, `faces` (m, 478, 3) in pixels
    of the full upright image (continuous, z on the same scale), `score` (m,) presence in
    [0, 1], `sharpness` (m,), `colors` (m, 468, 3) uint8 RGB under the mesh's points; with the
    Tasks landmarker also `blendshapes` (m, 52), with a second detector also `points68`
    (m, 68, 2) in pixels, NaN where it finds nothing.

    Args:
        video: of the subject.
        info_path: its `video.json`.
        chunk: number of the chunk, from 0.
        n_chunks: how many there are.
        out: `.npz` to write.
        model: `mediapipe` for the wheel's models, `tasks` for `weights`, `auto` for `tasks`
            where `weights` are given.
        weights: `face_landmarker.task`.
        second: `face_alignment` or `none`.

    Raises:
        UserError: the video is not the one that was probed, or a detector cannot run.
    """
    info = VideoInfo.load(info_path)
    first, stop = chunk_bounds(info.n_frames, n_chunks, chunk)
    rows: list[tuple[int, np.ndarray, float, float, np.ndarray]] = []
    scores: list[np.ndarray] = []
    more: list[np.ndarray] = []
    tasks = model == "tasks" or (model == "auto" and weights is not None)
    if first < stop:
        cv2.setNumThreads(1)
        models = _task_models(weights) if tasks else FaceModels()
        other = FaceAlignmentPoints() if second == "face_alignment" else None
        tracker = FaceTracker(models)
        start = max(1, first - WARM_UP)
        images = read_images(video, info, start, stop, fine=False)
        for frame_id, image in progress(images, stop - start, f"landmarks {chunk}"):
            for points, score in tracker.step(frame_id, image):
                if frame_id < first:
                    continue
                sharpness, colors = face_sharpness(image, points), face_colors(image, points)
                rows.append((frame_id, points, score, sharpness, colors))
                if tasks:
                    scores.append(models.blendshapes(points))
                if other is not None:
                    more.append(other.points(image, points))
    extras = {}
    if tasks:
        extras["blendshapes"] = np.array(scores, np.float32).reshape(-1, BLENDSHAPES)
    if second == "face_alignment":
        extras["points68"] = np.array(more, np.float32).reshape(-1, POINTS_68, 2)
    write_npz(
        out,
        ids=np.arange(first, stop, dtype=np.int32),
        face_frame=np.array([row[0] for row in rows], np.int32),
        faces=np.array([row[1] for row in rows], np.float32).reshape(-1, POINTS, 3),
        score=np.array([row[2] for row in rows], np.float32),
        sharpness=np.array([row[3] for row in rows], np.float32),
        colors=np.array([row[4] for row in rows], np.uint8).reshape(-1, SKIN_POINTS, 3),
        **extras,
    )


def _task_models(weights: Path | None) -> TaskModels:
    if weights is None:
        raise UserError("--model tasks: needs --weights face_landmarker.task")
    return TaskModels(weights)


def face_sharpness(image: np.ndarray, points: np.ndarray) -> float:
    """Mean square of the Laplacian over the variance of the face's gray values.

    The face box is brought to 128 x 128 pixels first; the ratio does not depend on contrast.

    Args:
        image: RGB uint8 (H, W, 3).
        points: (478, 3) in pixels of the image.
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
