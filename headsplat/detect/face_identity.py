"""Face re-identification by local contrast patterns at mesh points of the upper face.

The log color at each mesh point is compared with its neighborhood, which cancels skin tone,
exposure, white balance and most of the lighting. The remaining pattern of brows, lids, eye sockets
and nose is compared between frames of similar head pose.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headsplat.detect.face_colors import SKIN_POINTS

# Mesh points. The brows and everything below the nose move too much to be compared.
NOSE_BASE, FOREHEAD, CHIN, EYE_CORNERS = 2, 10, 152, (33, 263)
BROWS = (
    276, 282, 283, 285, 293, 295, 296, 300, 334, 336, 46, 52, 53, 55, 63, 65, 66, 70, 105, 107,
)  # fmt: skip
NEIGHBORHOOD = 0.3  # eye distances; standard deviation of the Gaussian neighborhood
LOG_OFFSET = 8.0  # gray values added before the logarithm, against noise in shadows
REFERENCE_FACES = 200
BATCH = 2048  # faces per batch, to bound temporary memory
POSE_STEP = 10.0  # degrees; frames of one piece are averaged in pose bins of this size
LEAST_FRAMES = 8  # shorter pieces of a track are not identified
LEAST_PER_POSE = 3  # pose bins with fewer frames are ignored if the piece has larger ones
# Largest distance (1 - correlation) of one person in one pose. For eight real people, relit,
# blurred, downscaled and grimacing, distances stayed below 0.19 for the same person and above 0.24
# for different people.
DISTANCE_LIMIT = 0.215
# Increase of the limit per degree of pose difference beyond `FREE_DEGREES`.
LIMIT_PER_DEGREE, FREE_DEGREES = 0.0075, 6.0
# Increase of the limit for short pieces: from `LIMIT_SHORT` at 0 frames to nothing at `ENOUGH`. A
# grimace or a hand in front of the face lasts less than a second.
LIMIT_SHORT, ENOUGH = 0.15, 25
POSE_WEIGHT = 4.0  # degrees of pose difference at which a comparison's weight drops by e
# A track is split where the mean patterns before and after differ by this much, and the pattern
# jumps between two frames. The second test skips `FADE` frames on each side, because a slow fade
# has no jump.
JUMP_LIMIT, JUMP_WINDOW = 0.2, 6
FADE_LIMIT, FADE_WINDOW, FADE = 0.25, 25, 12


@dataclass(frozen=True)
class FacePatterns:
    """Features for face re-identification.

    Attributes:
        patterns: (m, P) float16 unit vectors.
        poses: (m, 2) yaw and pitch in degrees, relative to the clip's mean face.
        mirror: (P,) permutation of a pattern that gives the pattern of the mirrored face.
    """

    patterns: np.ndarray
    poses: np.ndarray
    mirror: np.ndarray


def face_patterns(faces: np.ndarray, colors: np.ndarray) -> FacePatterns:
    """Compute the features of all faces of a clip.

    Args:
        faces: (m, 478, 3) px, m > 0.
        colors: (m, 468, 3) uint8 RGB of `face_colors`.
    """
    reference, upper = _reference(faces[:, :SKIN_POINTS])
    size = np.linalg.norm(reference[EYE_CORNERS[0]] - reference[EYE_CORNERS[1]])
    apart = np.square((reference[upper, None] - reference[None]) / size).sum(-1)
    around = np.exp(-apart / (2 * NEIGHBORHOOD**2))
    relief = np.zeros((len(upper), SKIN_POINTS))
    relief[np.arange(len(upper)), upper] = 1
    relief = (relief - around / around.sum(1, keepdims=True)).astype(np.float32)
    patterns = np.empty((len(faces), 3 * len(upper)), np.float16)
    poses = np.empty((len(faces), 2), np.float32)
    for low in range(0, len(faces), BATCH):
        part = slice(low, low + BATCH)
        poses[part] = _poses(faces[part, :SKIN_POINTS], reference, upper)
        relieved = relief @ np.log(colors[part].astype(np.float32) + LOG_OFFSET)
        relieved -= relieved.mean(axis=1, keepdims=True)
        patterns[part] = _unit(relieved.reshape(len(relieved), -1))
    return FacePatterns(patterns, poses, _mirror(reference[upper]))


def _reference(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The clip's mean face (468, 3), and the indices of the points used (above the nose base)."""
    some = faces[:: max(1, len(faces) // REFERENCE_FACES)].astype(np.float64)
    reference = some[0] - some[0].mean(axis=0)
    reference /= np.linalg.norm(reference)
    still = np.setdiff1d(np.arange(SKIN_POINTS), BROWS)
    upright = some[0, FOREHEAD] - some[0, CHIN]
    still = still[(some[0] @ upright)[still] > some[0, NOSE_BASE] @ upright]
    for _ in range(2):
        turns = _rotations(some, reference, still)
        centered = some - some[:, still].mean(axis=1, keepdims=True)
        turned = centered @ turns
        turned /= np.linalg.norm(turned, axis=(1, 2), keepdims=True)
        reference = turned.mean(axis=0)
    return _upright(reference), still


def _upright(face: np.ndarray) -> np.ndarray:
    """A face (468, 3) with origin between the eyes, x along the eye line, and y down."""
    corners = face[list(EYE_CORNERS)]
    across = _unit(corners[1] - corners[0])
    down = face[CHIN] - face[FOREHEAD]
    down = _unit(down - across * (down @ across))
    return (face - corners.mean(axis=0)) @ np.stack([across, down, np.cross(across, down)], axis=1)


def _mirror(points: np.ndarray) -> np.ndarray:
    """`FacePatterns.mirror` from the upright points (S, 3) of the patterns."""
    apart = np.square(points[:, None] * (-1, 1, 1) - points[None]).sum(-1)
    return (3 * apart.argmin(axis=1)[:, None] + np.arange(3)).reshape(-1)


def _rotations(faces: np.ndarray, reference: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Rotations (m, 3, 3) that align faces with `reference` by right multiplication (Kabsch)."""
    ours = faces[:, rows] - faces[:, rows].mean(axis=1, keepdims=True)
    theirs = reference[rows] - reference[rows].mean(axis=0)
    u, _, vt = np.linalg.svd(np.swapaxes(ours, 1, 2) @ theirs)
    u[..., 2] *= np.sign(np.linalg.det(u @ vt))[:, None]
    return u @ vt


def _poses(faces: np.ndarray, reference: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Yaw and pitch (m, 2) in degrees, relative to the clip's mean face."""
    turns = _rotations(faces.astype(np.float64), reference, rows)
    yaw = np.arctan2(turns[:, 0, 2], turns[:, 2, 2])
    pitch = np.arcsin(np.clip(turns[:, 1, 2], -1, 1))
    return np.degrees(np.stack([yaw, pitch], axis=1))


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-9)


def identity_changes(patterns: np.ndarray) -> list[int]:
    """Find possible changes of identity within a track.

    Args:
        patterns: (n, P) in order of time.

    Returns:
        Positions, ascending, at which a new piece begins.
    """
    step = _window_distance(patterns, 1, 0)
    sudden = np.maximum(step, np.maximum(np.roll(step, 1), np.roll(step, -1))) >= JUMP_LIMIT
    starts = _peaks(
        np.where(sudden, _window_distance(patterns, JUMP_WINDOW, 0), 0), JUMP_LIMIT, JUMP_WINDOW
    )
    edges = [0, *starts, len(patterns)]
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        slow = _window_distance(patterns[low:high], FADE_WINDOW, FADE)
        starts += [low + k for k in _peaks(slow, FADE_LIMIT, FADE_WINDOW + FADE)]
    return sorted(starts)


def _window_distance(patterns: np.ndarray, window: int, between: int) -> np.ndarray:
    """(n,) distance between the mean patterns of `window` frames before and after each position.

    `between` frames on each side are skipped; zero where the windows do not fit.
    """
    reach, count = between + window, len(patterns)
    apart = np.zeros(count)
    for low in range(reach, count - reach + 1, BATCH):
        high = min(low + BATCH, count - reach + 1)
        part = patterns[low - reach : high + reach - 1].astype(np.float32)
        sums = np.concatenate([np.zeros((1, part.shape[1])), part.cumsum(axis=0, dtype=float)])
        means = _unit(sums[window:] - sums[:-window])
        after = means[2 * between + window :]
        apart[low:high] = 1 - np.sum(means[: len(after)] * after, axis=1)
    return apart


def _peaks(apart: np.ndarray, least: float, reach: int) -> list[int]:
    """Positions of local maxima of at least `least`, ascending and at least `reach` apart."""
    free = apart >= least
    found: list[int] = []
    for place in np.argsort(-apart, kind="stable"):
        if apart[place] < least:
            break
        if free[place]:
            found.append(int(place))
            free[max(0, place - reach + 1) : place + reach] = False
    return sorted(found)


def group_by_person(pieces: Sequence[np.ndarray], features: FacePatterns) -> np.ndarray:
    """Agglomerative clustering of track pieces by person.

    The most similar groups are merged first. A merged group is compared as a whole, so a third
    piece can connect two pieces that show a person from different sides.

    Args:
        pieces: rows of `features` of each piece; short pieces are not identified.
        features: features of all faces.

    Returns:
        (pieces,) person numbers from 0; -1 for pieces that are not identified.
    """
    people = np.full(len(pieces), -1)
    judged = [k for k, rows in enumerate(pieces) if len(rows) >= LEAST_FRAMES]
    if not judged:
        return people
    excess, weight = _compare_pieces([pieces[k] for k in judged], features)
    groups = [[k] for k in judged]
    while len(groups) > 1:
        alike = excess / weight
        alike[:, np.arange(len(groups)), np.arange(len(groups))] = np.inf
        turned, first, then = np.unravel_index(int(alike.argmin()), alike.shape)
        if alike[turned, first, then] > 0:
            break
        first, then = sorted((int(first), int(then)))
        groups[first] += groups.pop(then)
        for table in (excess, weight):
            # A group that is merged mirrored swaps its plain and mirrored comparisons.
            table[:, first] += table[::-1, then] if turned else table[:, then]
            table[:, :, first] += table[::-1, :, then] if turned else table[:, :, then]
        excess, weight = (
            np.delete(np.delete(table, then, axis=1), then, axis=2) for table in (excess, weight)
        )
    for person, group in enumerate(groups):
        people[group] = person
    return people


def _compare_pieces(
    pieces: Sequence[np.ndarray], features: FacePatterns
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted excess distance and weight, (2, pieces, pieces) each, summed over pose bins.

    The excess is the distance above the limit for one person. Index 0 compares faces as they are,
    index 1 with one of them mirrored, because front cameras may mirror the image.
    """
    owner, count, pattern, pose = [], [], [], []
    for number, rows in enumerate(pieces):
        key = np.rint(features.poses[rows] / POSE_STEP).astype(int)
        _, which, counts = np.unique(key, axis=0, return_inverse=True, return_counts=True)
        which = which.reshape(-1)
        for group in np.flatnonzero(counts >= min(LEAST_PER_POSE, counts.max())):
            members = rows[which == group]
            owner.append(number)
            count.append(len(members))
            pattern.append(features.patterns[members].astype(np.float32).mean(axis=0))
            pose.append(features.poses[members].mean(axis=0))
    patterns, poses = _unit(np.array(pattern)), np.array(pose, float)
    frames = np.array([len(pieces[number]) for number in owner])
    short = np.maximum(1 - np.minimum.outer(frames, frames) / ENOUGH, 0)
    member = np.zeros((len(pieces), len(owner)))
    member[owner, np.arange(len(owner))] = 1
    sums = []
    for others, towards in ((patterns, poses), (patterns[:, features.mirror], poses * (-1, 1))):
        apart = 1 - (patterns @ others.T).astype(float)
        turned = np.linalg.norm(poses[:, None] - towards[None], axis=-1)
        allowed = (
            DISTANCE_LIMIT
            + LIMIT_PER_DEGREE * np.maximum(turned - FREE_DEGREES, 0)
            + LIMIT_SHORT * short
        )
        weight = np.exp(-turned / POSE_WEIGHT) * np.outer(count, count)
        sums.append([member @ table @ member.T for table in (weight * (apart - allowed), weight)])
    excess, weight = np.moveaxis(np.array(sums), 1, 0)
    return (excess + excess.swapaxes(1, 2)) / 2, (weight + weight.swapaxes(1, 2)) / 2
