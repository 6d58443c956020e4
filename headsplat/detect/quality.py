"""How good the subject's face is in each frame: the status and the confidence."""

import numpy as np

from headsplat.detect.subject import face_heights

BLUR_SHARE = 0.4  # of the clip's median sharpness; below, a frame counts as blurred
OUTSIDE_SHARE = 0.02  # of the face's points; above, a frame counts as clipped
GLITCH = 0.04  # face heights; a jump against both neighbors that halves the confidence
FULL_HEIGHT = 160  # px; smaller faces carry less detail and less confidence


def share_outside(points: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Share of each frame's points outside a box: (N, 478, >=2) px, (2,), (2,) -> (N,)."""
    xy = points[..., :2]
    return np.mean(np.any((xy < low) | (xy > high), axis=-1), axis=-1)


def frame_status(
    seen: np.ndarray,
    undecodable: np.ndarray,
    outside: np.ndarray,
    sharpness: np.ndarray,
    faces: np.ndarray,
    others: np.ndarray,
) -> np.ndarray:
    """Status string per frame; where several apply, the one that harms most.

    Args:
        seen: (N,) bool, the subject was found.
        undecodable: (N,) bool, the frame shows a neighbor's image.
        outside: (N,) share of the face outside the crop or the image.
        sharpness: (N,), NaN where no face.
        faces: (N,) number of faces.
        others: (N,) bool, somebody else is seen, and the subject is not.
    """
    limit = BLUR_SHARE * np.nanmedian(sharpness)
    status = np.full(len(seen), "ok", "U16")
    status[faces > 1] = "several_faces"
    status[seen & (np.nan_to_num(sharpness, nan=np.inf) < limit)] = "blurred"
    status[seen & (np.nan_to_num(outside) > OUTSIDE_SHARE)] = "clipped"
    status[~seen] = "no_face"
    status[others] = "another_person"
    status[undecodable] = "undecodable"
    return status


def frame_confidence(
    points: np.ndarray, score: np.ndarray, sharpness: np.ndarray, outside: np.ndarray
) -> np.ndarray:
    """Confidence (N,) in [0, 1]; 0 where there is no face.

    The product of the model's own score, of how well the face agrees with the mean of its
    two neighbors in time, of its sharpness against the clip's median, of its size, and of
    the share of it that is inside.

    Args:
        points: (N, 478, 3) px, NaN where no face.
        score: (N,) presence in [0, 1], NaN where no face.
        sharpness: (N,), NaN where no face.
        outside: (N,) share of the face outside, NaN where no face.
    """
    height = face_heights(points)
    jump = np.zeros(len(points))
    if len(points) > 2:
        middle = points[1:-1, :, :2] - 0.5 * (points[:-2, :, :2] + points[2:, :, :2])
        jump[1:-1] = np.median(np.linalg.norm(middle, axis=-1), axis=-1)
    jump = np.nan_to_num(jump) / np.nan_to_num(height, nan=1.0)
    steady = 1 / (1 + (jump / GLITCH) ** 2)
    sharp = np.minimum(1, sharpness / (BLUR_SHARE * np.nanmedian(sharpness)))
    large = np.minimum(1, height / FULL_HEIGHT)
    return np.clip(np.nan_to_num(score * steady * sharp * large * (1 - outside)), 0, 1)
