"""Faces that never move a muscle: photographs, posters and paintings behind the subject."""

import numpy as np

# Pairs of mesh points between which a living face changes within seconds: the lips, the corners
# of the mouth, the lids, brow to lid, nose to chin.
PAIRS = np.array([(13, 14), (61, 291), (386, 374), (159, 145), (66, 159), (1, 152)])
# Share of the face's height that none of these distances varies by. Photographs that were shaken,
# noisy and coarsely compressed stayed below 0.015, living faces above 0.034 in any 4 s.
STILL = 0.02
SPREAD = (5, 95)  # percentiles between which a distance varies
LEAST_FRAMES = 100  # fewer do not tell


def is_image(faces: np.ndarray, rows: np.ndarray, heights: np.ndarray) -> bool | None:
    """Whether a face followed over time is a still image of one; None where that is unclear.

    Args:
        faces: (m, 478, 3) px, of all faces.
        rows: (n,) this face's.
        heights: (n,) px.
    """
    if len(rows) < LEAST_FRAMES:
        return None
    one, other = (faces[rows[:, None], PAIRS[:, k], :2] for k in (0, 1))
    share = np.linalg.norm(one - other, axis=-1) / heights[:, None]
    return bool(np.ptp(np.percentile(share, SPREAD, axis=0), axis=0).max() < STILL)
