"""Per-frame quality of the subject's face: status and confidence."""

import numpy as np

from headsplat.detect.subject import face_heights

BLUR_SHARE = 0.4  # share of the clip's median sharpness below which a frame is `blurred`
OUTSIDE_SHARE = 0.02  # share of face points outside above which a frame is `clipped`
GLITCH = 0.04  # face heights; a jump of this size against both neighbors halves the confidence
FULL_HEIGHT = 160  # px; below this height the confidence is reduced in proportion


def share_outside(points: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Share of each frame's points outside a box.

    Args:
        points: (N, 478, 2 or 3) px.
        low: (2,) upper left corner, px.
        high: (2,) lower right corner, px.

    Returns:
        (N,) in [0, 1].
    """
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
    """(N,) status strings as in `frames.tsv`; of several that apply, the worst.

    Args:
        seen: (N,) bool, whether the subject was found.
        undecodable: (N,) bool, whether the frame shows a neighbor's image.
        outside: (N,) share of the face outside the crop or the image.
        sharpness: (N,), NaN without a face.
        faces: (N,) number of faces.
        others: (N,) bool, whether other people are seen but not the subject.
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
    """Confidence (N,) in [0, 1]; 0 without a face.

    It is a product of five factors: the model's score, the agreement with the mean of the two
    neighboring frames, the sharpness relative to the clip's median, the size, the share inside.

    Args:
        points: (N, 478, 3) px, NaN without a face.
        score: (N,) presence in [0, 1], NaN without a face.
        sharpness: (N,), NaN without a face.
        outside: (N,) share of the face outside, NaN without a face.
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
