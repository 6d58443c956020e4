"""Observations for the solver: landmarks in crop pixels with their reliability."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from headsplat.frames.crop import Crop
from headsplat.frames.table import read_frames
from headsplat.heads.landmarks import INTER_OCULAR, MEDIAPIPE_GROUPS
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import read_npz
from headsplat.runtime.logs import log
from headsplat.tracking.scores import checked_scores, shut_lids

POINTS = 478
TRACKED = ("ok", "several_faces", "blurred", "clipped")
LEAST_SEEN = 0.2
# Face displacement between two frames that counts as a cut, in inter-ocular distances.
CUT_DISPLACEMENT = 0.45
# A smaller jump also counts as a cut if it is this many times the largest motion in the frames
# around it. Several frames are used, because upsampled videos repeat frames.
SUDDEN, SUDDEN_RATIO, SUDDEN_REACH = 0.12, 3.0, 4
# A face that jumps away and back within this many frames is a false detection.
STRAY_FRAMES = 2
# Batch size over frames, which bounds temporaries for long clips.
PART = 2048


@dataclass(frozen=True)
class Observations:
    """Detected landmarks of one clip.

    Attributes:
        ids, status, confidence: per frame.
        points: (N, 478, 2) float32 crop pixels from the principal point; zero where not seen.
        second: (N, 68, 3) float32, a second detector's points likewise and their weight in 0..1
            (0 where it found nothing), or None.
        scores: (N, 52) float32, MediaPipe's blendshape scores, NaN in frames without; or None. With
            scores, `points` have the lids of closing eyes moved together.
        seen: (N,) whether `points` is valid.
        linked: (N - 1,) whether a frame and the next are continuous (False at a cut).
        size: inter-ocular distance of a frontal face of this clip, in crop pixels.
        center: principal point in crop pixels.
        crop: the window.
        fps: frames a second.
    """

    ids: np.ndarray
    status: np.ndarray
    confidence: np.ndarray
    points: np.ndarray
    seen: np.ndarray
    linked: np.ndarray
    size: float
    center: tuple[float, float]
    crop: Crop
    fps: float
    second: np.ndarray | None = None
    scores: np.ndarray | None = None

    def shifted(self, by: np.ndarray, center: tuple[float, float]) -> "Observations":
        """The same detections relative to another principal point; `by` is old center minus new."""
        points = self.points + np.where(self.seen[:, None, None], by, 0.0).astype(np.float32)
        second = None if self.second is None else self.second.copy()
        if second is not None:
            second[..., :2] += np.where(second[..., 2:] > 0, by, 0.0)
        return replace(self, points=points, second=second, center=center)


def read_observations(landmarks: Path, crop: Path, frames: Path) -> Observations:
    """Read and check the detections of a clip.

    Raises:
        UserError: wrong array shapes, ids that do not match the frame table, NaN in a frame with a
            face, confidences outside 0..1, or too few faces.
    """
    arrays = read_npz(landmarks, ("ids", "points", "status", "confidence", "time"))
    window = Crop.load(crop)
    ids, points, status = arrays["ids"], arrays["points"], arrays["status"]
    count = len(ids)
    if points.shape != (count, POINTS, 3):
        raise UserError(
            f"{landmarks}: landmarks have shape {list(points.shape)}, expected "
            f"[{count}, {POINTS}, 3]; remake the landmarks"
        )
    table = [row.id for row in read_frames(frames)]
    if table != ids.tolist():
        raise UserError(
            f"{landmarks}: {count} frames do not match the {len(table)} of {frames}; "
            "remake the landmarks"
        )
    confidence = arrays["confidence"].astype(np.float64)
    if not ((confidence >= 0) & (confidence <= 1)).all():
        bad = ids[~((confidence >= 0) & (confidence <= 1))]
        raise UserError(
            f"{landmarks}: confidence outside 0..1 in frame {bad[0]}; remake the landmarks"
        )
    seen = np.isin(status, TRACKED) & (confidence > 0)
    broken = seen & ~in_parts(lambda part: np.isfinite(part[..., :2]).all((1, 2)), points)
    if broken.any():
        raise UserError(
            f"{landmarks}: {broken.sum()} frames have status '{status[broken][0]}' but landmarks "
            f"that are not finite, first frame {ids[broken][0]}; remake the landmarks"
        )
    if seen.sum() < max(1, LEAST_SEEN * count):
        least = math.ceil(max(1, LEAST_SEEN * count))
        raise UserError(
            f"{landmarks}: a face in only {int(seen.sum())} of {count} frames, at least {least} "
            f"are needed; of the others, {_lost(status[~seen])}; "
            "use a clip that shows one face most of the time"
        )
    center = window.center()
    points[~seen] = 0
    pixels = in_parts(
        lambda part: (window.points(part[..., :2]) - np.asarray(center)).astype(np.float32), points
    )
    pixels[~seen] = 0
    size = _frontal_size(pixels[seen])
    seen, linked = split_cuts(pixels, seen, size)
    second = None
    if "points68" in arrays:
        second = _second(arrays["points68"], seen, window, landmarks)
    scores = None
    if "blendshapes" in arrays:
        scores = checked_scores(arrays["blendshapes"], seen, landmarks)
    if scores is not None:
        pixels = shut_lids(pixels, scores)
    cuts = np.flatnonzero(~linked)
    if len(cuts):
        log.info("cuts before frames %s", ", ".join(str(ids[c + 1]) for c in cuts[:20]))
    fps = float(1 / np.median(np.diff(arrays["time"]))) if count > 1 else 25.0
    return Observations(
        ids, status, confidence, pixels, seen, linked, size, center, window, round(fps, 6),
        second, scores,
    )  # fmt: skip


def _lost(status: np.ndarray) -> str:
    """Number of unusable frames by status, for messages."""
    names = np.where(np.isin(status, TRACKED), "without confidence", status)
    reasons, counts = np.unique(names, return_counts=True)
    return ", ".join(f"{count} {name}" for name, count in zip(reasons, counts, strict=True))


def _second(points: np.ndarray, seen: np.ndarray, window: Crop, path: Path) -> np.ndarray:
    """(N, 68, 2) source pixels, or (N, 68, 3) with weights -> see `Observations.second`."""
    count = len(seen)
    if points.shape not in ((count, 68, 2), (count, 68, 3)):
        raise UserError(
            f"{path}: points68 has shape {list(points.shape)}, expected [{count}, 68, 2] or "
            f"[{count}, 68, 3]; remake the landmarks"
        )
    weight = points[..., 2] if points.shape[2] == 3 else np.ones((count, 68), np.float32)
    good = np.isfinite(points).all(-1) & seen[:, None]
    if (good & ((weight < 0) | (weight > 1))).any():
        raise UserError(f"{path}: weights of points68 outside 0..1; remake the landmarks")
    pixels = window.points(points[..., :2]) - np.asarray(window.center())
    both = np.concatenate([pixels, weight[..., None]], -1)
    return np.where(good[..., None], both, 0.0).astype(np.float32)


def _frontal_size(points: np.ndarray) -> float:
    """Outer eye corner distance; turning the head shortens it, so a high quantile is taken."""
    left, right = points[:, INTER_OCULAR[1]], points[:, INTER_OCULAR[0]]
    return float(np.quantile(np.linalg.norm(left - right, axis=1), 0.9))


def split_cuts(points: np.ndarray, seen: np.ndarray, size: float) -> tuple[np.ndarray, np.ndarray]:
    """Find cuts and stray detections.

    Args:
        points: (N, 478, 2) pixels.
        seen: (N,) frames that have a face.
        size: inter-ocular distance in pixels.

    Returns:
        `seen` without stray frames (the face jumps away and is back within `STRAY_FRAMES`), and
        (N - 1,) whether a frame and the next belong together.
    """
    seen = seen.copy()
    linked = np.ones(max(len(seen) - 1, 0), dtype=bool)
    known = np.flatnonzero(seen)

    rows = np.unique(np.concatenate([np.array(group) for group in MEDIAPIPE_GROUPS.values()]))
    points = points[:, rows]

    def moved(first: np.ndarray, then: np.ndarray) -> np.ndarray:
        """Median distance of the points, in inter-ocular distances."""

        def part(pairs: np.ndarray) -> np.ndarray:
            apart = points[pairs[:, 0]] - points[pairs[:, 1]]
            return np.median(np.linalg.norm(apart, axis=-1), axis=1) / size

        return in_parts(part, np.stack([first, then], 1))

    step = moved(known[:-1], known[1:])
    # Over a gap the limit grows with its length, up to a bound.
    far = step > CUT_DISPLACEMENT * np.minimum(np.diff(known), 5)
    beside = np.pad(step, SUDDEN_REACH)
    around = np.max(
        [np.roll(beside, k) for k in range(-SUDDEN_REACH, SUDDEN_REACH + 1) if k], axis=0
    )[SUDDEN_REACH : SUDDEN_REACH + len(step)]
    sudden = (step > SUDDEN) & (step > SUDDEN_RATIO * around) & (np.diff(known) == 1)
    after = 0
    for place in np.flatnonzero(far | sudden):
        if place < after:
            continue
        later = known[place + 2 : place + 2 + STRAY_FRAMES - 1]
        back = np.flatnonzero(moved(np.full_like(later, known[place]), later) <= CUT_DISPLACEMENT)
        if far[place] and len(back):
            after = place + 2 + back[0]
            seen[known[place + 1 : after]] = False
        else:
            linked[known[place + 1] - 1] = False
    return seen, linked


def in_parts(work: Callable[[np.ndarray], np.ndarray], rows: np.ndarray) -> np.ndarray:
    """Apply `work` to all rows in batches, so that long clips need no large temporaries."""
    parts = range(0, max(len(rows), 1), PART)
    return np.concatenate([work(rows[low : low + PART]) for low in parts])
