"""What the solver is given: detected landmarks in crop pixels, checked, with their reliability."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from headsplat.cli import log
from headsplat.crop import Crop
from headsplat.errors import UserError
from headsplat.files import read_npz
from headsplat.frames_table import read_frames
from headsplat.heads.landmarks import INTER_OCULAR

POINTS = 478
TRACKED = ("ok", "several_faces", "blurred", "clipped")
LEAST_SEEN = 0.2
# A jump of the face between two frames that no head makes in 40 ms, in inter-ocular distances.
JUMP = 0.45
# A face that leaves and comes back within this many frames was a false detection.
STRAY = 2


@dataclass(frozen=True)
class Observations:
    """One clip's detections.

    Attributes:
        ids, status, confidence: per frame.
        points: (N, 478, 2) crop pixels from the principal point; zero where not seen.
        seen: (N,) whether `points` counts.
        linked: (N - 1,) whether a frame and the next are one motion (False at a cut).
        size: inter-ocular distance of a frontal face of this clip, in crop pixels.
        centre: principal point in crop pixels.
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
    centre: tuple[float, float]
    crop: Crop
    fps: float

    def shifted(self, by: np.ndarray, centre: tuple[float, float]) -> "Observations":
        """The same detections from another principal point; `by` is old centre minus new."""
        points = np.where(self.seen[:, None, None], self.points + by, 0.0)
        return replace(self, points=points, centre=centre)


def read_observations(landmarks: Path, crop: Path, frames: Path) -> Observations:
    """Read and check the detections of a clip.

    Raises:
        UserError: arrays of the wrong shape, ids that do not join with the frame table, NaN in a
            frame said to have a face, confidences outside 0..1, faces in too few frames.
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
    seen = np.isin(status, TRACKED)
    broken = seen & ~np.isfinite(points[..., :2]).all((1, 2))
    if broken.any():
        raise UserError(
            f"{landmarks}: {broken.sum()} frames have status '{status[broken][0]}' but landmarks "
            f"that are not finite, first frame {ids[broken][0]}; remake the landmarks"
        )
    if seen.sum() < max(1, LEAST_SEEN * count):
        raise UserError(
            f"{landmarks}: a face in only {int(seen.sum())} of {count} frames, at least "
            f"{LEAST_SEEN:.0%} are needed; use a clip that shows one face"
        )
    seen &= confidence > 0
    pixels = window.points(points)[..., :2]
    centre = window.centre()
    pixels = np.where(seen[:, None, None], pixels - np.asarray(centre), 0.0)
    size = _frontal_size(pixels[seen])
    seen, linked = split_cuts(pixels, seen, size)
    cuts = np.flatnonzero(~linked)
    if len(cuts):
        log.info("cuts before frames %s", ", ".join(str(ids[c + 1]) for c in cuts[:20]))
    fps = float(1 / np.median(np.diff(arrays["time"]))) if count > 1 else 25.0
    return Observations(
        ids, status, confidence, pixels, seen, linked, size, centre, window, round(fps, 6)
    )


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
        `seen` without stray frames (the face jumps away and is back within `STRAY` frames), and
        (N - 1,) whether a frame and the next belong together.
    """
    seen = seen.copy()
    linked = np.ones(max(len(seen) - 1, 0), dtype=bool)
    known = np.flatnonzero(seen).tolist()

    def jumps(a: int, b: int, steps: int) -> bool:
        # Over a gap the head may have moved further, but not without end.
        allowed = JUMP * size * min(steps, 5)
        return float(np.median(np.linalg.norm(points[a] - points[b], axis=-1))) > allowed

    position = 0
    while position + 1 < len(known):
        a, b = known[position], known[position + 1]
        if not jumps(a, b, b - a):
            position += 1
            continue
        back = next(
            (
                k
                for k in range(position + 2, min(position + 2 + STRAY, len(known)))
                if not jumps(a, known[k], 1)
            ),
            None,
        )
        if back is not None:
            for stray in known[position + 1 : back]:
                seen[stray] = False
            del known[position + 1 : back]
        else:
            linked[b - 1] = False
            position += 1
    return seen, linked
