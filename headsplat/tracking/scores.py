"""What MediaPipe's 52 blendshape scores say about lids, gaze and lips.

The scores are a network's reading of the landmarks. They hold under head turns, where distances in
the image do not. They are weak: a person's neutral face does not score 0, and a closed eye does not
score 1. So each score is compared with its own median over the clip.

The landmarks of an eye that is shut keep a fifth to a third of the opening, also in frontal views.
The score tells that the eye is shut, so the points are moved together (`shut_lids`).
"""

from pathlib import Path

import numpy as np

from headsplat.heads.landmarks import LIP_DISTANCE_PAIRS, MEDIAPIPE_GROUPS
from headsplat.runtime.errors import UserError

SCORES = 52
# Columns in MediaPipe's order, whose first is `_neutral`. Sides are the subject's.
BLINK = {"left": 9, "right": 10}
LOOK_DOWN, LOOK_IN, LOOK_OUT, LOOK_UP = (
    {"left": first, "right": first + 1} for first in (11, 13, 15, 17)
)
JAW_OPEN, MOUTH_CLOSE = 25, 27
# Eyes scoring less than the first keep their points, eyes scoring more than the second are shut.
# For people whose open eyes score high, the limits lie this much above the median.
LIDS_MOVE, LIDS_SHUT = 0.25, 0.5
MOVE_ABOVE, SHUT_ABOVE = 0.2, 0.4
# Eye angle at score 1, radians.
GAZE_GAIN = 0.5
# Lips touch if the distance of the inner lips is below the first (fractions of the inter-ocular
# distance), and not above the second. Likewise for the score of the opened jaw.
LIPS_TOUCH = (0.008, 0.02)
JAW_SHUT = (0.1, 0.3)


def checked_scores(scores: np.ndarray, seen: np.ndarray, path: Path) -> np.ndarray | None:
    """(N, 52) float32 scores, NaN in frames that have none; None if no frame has any.

    Args:
        scores: (N, 52) as read from `path`.
        seen: (N,) frames with a face; the others' scores are not used.
        path: for messages.

    Raises:
        UserError: another shape, or scores outside 0..1.
    """
    count = len(seen)
    if scores.shape != (count, SCORES) or scores.dtype.kind != "f":
        raise UserError(
            f"{path}: blendshapes are {scores.dtype} {list(scores.shape)}, expected numbers "
            f"[{count}, {SCORES}]; remake the landmarks"
        )
    known = seen & ~np.isnan(scores).all(1)
    if not ((scores[known] >= 0) & (scores[known] <= 1)).all():
        raise UserError(f"{path}: blendshapes outside 0..1; remake the landmarks")
    return np.where(known[:, None], scores, np.nan).astype(np.float32) if known.any() else None


def shut_lids(points: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Landmarks with the lids of closing eyes moved together, by what the scores say.

    Each upper point moves towards its lower one, and both meet where the eye is shut.

    Args:
        points: (N, 478, 2) pixels.
        scores: (N, 52), NaN in frames that keep their points.

    Returns:
        (N, 478, 2), a copy.
    """
    points = points.copy()
    for side, column in BLINK.items():
        share = _ramp(scores[:, column], *_blink_limits(scores[:, column]))
        rows = np.flatnonzero(share > 0)
        edge = MEDIAPIPE_GROUPS[f"{side}_eye"]
        # From the outer corner along the lower lid to the inner corner, and back.
        lower, upper = list(edge[1:8]), list(edge[:8:-1])
        gap = points[np.ix_(rows, lower)] - points[np.ix_(rows, upper)]
        points[np.ix_(rows, upper)] += gap * share[rows, None, None].astype(points.dtype)
    return points


def _blink_limits(score: np.ndarray) -> tuple[float, float]:
    """Scores between which one eye of this person shuts."""
    rest = _median(score)
    return max(LIDS_MOVE, rest + MOVE_ABOVE), max(LIDS_SHUT, rest + SHUT_ABOVE)


def gaze(scores: np.ndarray) -> np.ndarray:
    """(N, 4) eye angles in radians as in `Layout.eyes`, up to a constant; NaN without scores.

    Left pitch and yaw, right pitch and yaw; pitch is down, yaw to the subject's left.
    """
    angles = []
    for side, outward in (("left", 1.0), ("right", -1.0)):
        angles.append(scores[:, LOOK_DOWN[side]] - scores[:, LOOK_UP[side]])
        angles.append(outward * (scores[:, LOOK_OUT[side]] - scores[:, LOOK_IN[side]]))
    return GAZE_GAIN * np.stack(angles, 1).astype(np.float64)


def open_eyes(scores: np.ndarray) -> np.ndarray:
    """(N, 2) in 0..1, left and right: 1 where the eye is open, so that its gaze is known."""
    columns = [scores[:, column] for column in BLINK.values()]
    shut = [_ramp(score, _median(score), _blink_limits(score)[1]) for score in columns]
    return 1.0 - np.stack(shut, 1)


def lips_touch(points: np.ndarray, scores: np.ndarray, size: float) -> np.ndarray:
    """(N,) in 0..1: 1 where landmarks and scores agree that the lips touch.

    Args:
        points: (N, 478, 2) pixels.
        scores: (N, 52), NaN in frames that have none (0 there).
        size: inter-ocular distance in pixels.
    """
    upper, lower = np.array(LIP_DISTANCE_PAIRS).T
    gap = np.linalg.norm(points[:, upper] - points[:, lower], axis=-1).mean(1) / size
    opened = scores[:, JAW_OPEN] - scores[:, MOUTH_CLOSE]
    touch = (1 - _ramp(gap, *LIPS_TOUCH)) * (1 - _ramp(opened, *JAW_SHUT))
    return np.where(np.isnan(opened), 0.0, touch)


def _median(score: np.ndarray) -> float:
    known = score[np.isfinite(score)]
    return float(np.median(known)) if len(known) else 0.0


def _ramp(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below `low` and without a value, 1 above `high`."""
    return np.clip((np.nan_to_num(values, nan=low) - low) / (high - low), 0.0, 1.0)
