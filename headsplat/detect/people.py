"""Who is who: faces told apart by the pattern of light and dark around eyes, nose and forehead.

A face's colors at the mesh's points are compared with those around them, so that skin tone,
exposure, white balance and most of the light cancel. What remains, brows, lids, eye sockets and
the nose's relief, is compared at similar head poses.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headsplat.detect.colors import SKIN_POINTS

# Points of the mesh; the brows move too much to be compared, as does all below the nose.
NOSE_BASE, FOREHEAD, CHIN, EYE_CORNERS = 2, 10, 152, (33, 263)
BROWS = (
    276, 282, 283, 285, 293, 295, 296, 300, 334, 336, 46, 52, 53, 55, 63, 65, 66, 70, 105, 107,
)  # fmt: skip
AROUND = 0.3  # eye distances: standard deviation of the neighborhood that is subtracted
DARKEST = 8.0  # gray values; keeps the noise of shadows out of the logarithm
REFERENCE_FACES = 200
PART = 2048  # faces worked on at once, so that long clips need no large temporaries
POSE_STEP = 10.0  # degrees; frames of one piece are averaged where their poses are this near
LEAST_FRAMES = 8  # a shorter piece of a track is not judged
LEAST_IN_POSE = 3  # rarer poses of a piece are left out where it has others
# Distance (one minus the correlation) from which two faces in one pose are two people. Of eight
# real people, relit, softened, shrunk and grimacing, one person's distances stayed below 0.19 and
# two people's above 0.24.
APART = 0.215
# How much further one person may be from itself, per degree of pose between the two faces.
APART_PER_DEGREE, POSE_FREE = 0.0075, 6.0
# And how much further where the shorter piece has no frames; nothing more from `ENOUGH` frames
# on. A grimace or a hand before the face lasts less than a second.
APART_SHORT, ENOUGH = 0.15, 25
POSE_WEIGHT = 4.0  # degrees; faces in like poses count e times those this much less alike
# A track is cut where the pattern differs by this much between the frames before and after, and
# jumps from one frame to the next. The second look leaves the frames between out, because a slow
# fade has no jump.
CHANGE, WINDOW = 0.2, 6
FADE_CHANGE, FADE_WINDOW, FADE = 0.25, 25, 12


@dataclass(frozen=True)
class FacePatterns:
    """What tells faces apart.

    Attributes:
        patterns: (m, P) float16 of unit length.
        poses: (m, 2) yaw and pitch in degrees.
        mirror: (P,) order of a pattern's numbers in the pattern of the mirrored face.
    """

    patterns: np.ndarray
    poses: np.ndarray
    mirror: np.ndarray


def face_patterns(faces: np.ndarray, colors: np.ndarray) -> FacePatterns:
    """Patterns of all faces of a clip.

    Args:
        faces: (m, 478, 3) px, m > 0.
        colors: (m, 468, 3) uint8, of `face_colors`.
    """
    reference, upper = _reference(faces[:, :SKIN_POINTS])
    size = np.linalg.norm(reference[EYE_CORNERS[0]] - reference[EYE_CORNERS[1]])
    apart = np.square((reference[upper, None] - reference[None]) / size).sum(-1)
    around = np.exp(-apart / (2 * AROUND**2))
    relief = np.zeros((len(upper), SKIN_POINTS))
    relief[np.arange(len(upper)), upper] = 1
    relief = (relief - around / around.sum(1, keepdims=True)).astype(np.float32)
    patterns = np.empty((len(faces), 3 * len(upper)), np.float16)
    poses = np.empty((len(faces), 2), np.float32)
    for low in range(0, len(faces), PART):
        part = slice(low, low + PART)
        poses[part] = _poses(faces[part, :SKIN_POINTS], reference, upper)
        relieved = relief @ np.log(colors[part].astype(np.float32) + DARKEST)
        relieved -= relieved.mean(axis=1, keepdims=True)
        patterns[part] = _unit(relieved.reshape(len(relieved), -1))
    return FacePatterns(patterns, poses, _mirror(reference[upper]))


def _reference(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The clip's mean face (468, 3), and which of its points count: above the nose's base."""
    some = faces[:: max(1, len(faces) // REFERENCE_FACES)].astype(np.float64)
    reference = some[0] - some[0].mean(axis=0)
    reference /= np.linalg.norm(reference)
    still = np.setdiff1d(np.arange(SKIN_POINTS), BROWS)
    upright = some[0, FOREHEAD] - some[0, CHIN]
    still = still[(some[0] @ upright)[still] > some[0, NOSE_BASE] @ upright]
    for _ in range(2):
        turns = _turns(some, reference, still)
        centered = some - some[:, still].mean(axis=1, keepdims=True)
        turned = centered @ turns
        turned /= np.linalg.norm(turned, axis=(1, 2), keepdims=True)
        reference = turned.mean(axis=0)
    return _upright(reference), still


def _upright(face: np.ndarray) -> np.ndarray:
    """A face (468, 3) turned so that x runs along the eyes from their middle, and y down."""
    corners = face[list(EYE_CORNERS)]
    across = _unit(corners[1] - corners[0])
    down = face[CHIN] - face[FOREHEAD]
    down = _unit(down - across * (down @ across))
    return (face - corners.mean(axis=0)) @ np.stack([across, down, np.cross(across, down)], axis=1)


def _mirror(points: np.ndarray) -> np.ndarray:
    """See `FacePatterns.mirror`, from the upright points (S, 3) of the patterns."""
    apart = np.square(points[:, None] * (-1, 1, 1) - points[None]).sum(-1)
    return (3 * apart.argmin(axis=1)[:, None] + np.arange(3)).reshape(-1)


def _turns(faces: np.ndarray, reference: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Rotations (m, 3, 3), by which faces are multiplied from the right to face as `reference`."""
    ours = faces[:, rows] - faces[:, rows].mean(axis=1, keepdims=True)
    theirs = reference[rows] - reference[rows].mean(axis=0)
    u, _, vt = np.linalg.svd(np.swapaxes(ours, 1, 2) @ theirs)
    u[..., 2] *= np.sign(np.linalg.det(u @ vt))[:, None]
    return u @ vt


def _poses(faces: np.ndarray, reference: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Yaw and pitch (m, 2) in degrees, from the clip's mean face."""
    turns = _turns(faces.astype(np.float64), reference, rows)
    yaw = np.arctan2(turns[:, 0, 2], turns[:, 2, 2])
    pitch = np.arcsin(np.clip(turns[:, 1, 2], -1, 1))
    return np.degrees(np.stack([yaw, pitch], axis=1))


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-9)


def changes(patterns: np.ndarray) -> list[int]:
    """Where a face followed through time becomes, or may become, another one.

    Args:
        patterns: (n, P), in order of time.

    Returns:
        Positions, ascending, at which a new piece begins.
    """
    step = _apart(patterns, 1, 0)
    sudden = np.maximum(step, np.maximum(np.roll(step, 1), np.roll(step, -1))) >= CHANGE
    starts = _peaks(np.where(sudden, _apart(patterns, WINDOW, 0), 0), CHANGE, WINDOW)
    edges = [0, *starts, len(patterns)]
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        slow = _apart(patterns[low:high], FADE_WINDOW, FADE)
        starts += [low + k for k in _peaks(slow, FADE_CHANGE, FADE_WINDOW + FADE)]
    return sorted(starts)


def _apart(patterns: np.ndarray, window: int, between: int) -> np.ndarray:
    """(n,) distance of the mean of `window` frames before each position from that after it.

    `between` frames to each side are left out; zero where the windows do not fit.
    """
    reach, count = between + window, len(patterns)
    apart = np.zeros(count)
    for low in range(reach, count - reach + 1, PART):
        high = min(low + PART, count - reach + 1)
        part = patterns[low - reach : high + reach - 1].astype(np.float32)
        sums = np.concatenate([np.zeros((1, part.shape[1])), part.cumsum(axis=0, dtype=float)])
        means = _unit(sums[window:] - sums[:-window])
        after = means[2 * between + window :]
        apart[low:high] = 1 - np.sum(means[: len(after)] * after, axis=1)
    return apart


def _peaks(apart: np.ndarray, least: float, reach: int) -> list[int]:
    """Positions of the highest values, ascending and at least `reach` apart."""
    free = apart >= least
    found: list[int] = []
    for place in np.argsort(-apart, kind="stable"):
        if apart[place] < least:
            break
        if free[place]:
            found.append(int(place))
            free[max(0, place - reach + 1) : place + reach] = False
    return sorted(found)


def tell_people(pieces: Sequence[np.ndarray], looks: FacePatterns) -> np.ndarray:
    """Give every piece the number of a person.

    The most alike are joined first, and what was joined is compared as one, so that a person seen
    from two sides in two pieces is known by a third.

    Args:
        pieces: rows of `looks` of each piece; an empty one is not judged.
        looks: of all faces.

    Returns:
        (pieces,) numbers from 0; -1 for those that are not judged.
    """
    people = np.full(len(pieces), -1)
    judged = [k for k, rows in enumerate(pieces) if len(rows) >= LEAST_FRAMES]
    if not judged:
        return people
    excess, weight = _compare([pieces[k] for k in judged], looks)
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
            # Who joins as a mirror image is to the others what its own mirror image was.
            table[:, first] += table[::-1, then] if turned else table[:, then]
            table[:, :, first] += table[::-1, :, then] if turned else table[:, :, then]
        excess, weight = (
            np.delete(np.delete(table, then, axis=1), then, axis=2) for table in (excess, weight)
        )
    for person, group in enumerate(groups):
        people[group] = person
    return people


def _compare(pieces: Sequence[np.ndarray], looks: FacePatterns) -> tuple[np.ndarray, np.ndarray]:
    """Sums over all poses of two pieces, (2, pieces, pieces) each: weighted excess, and weight.

    The excess is how much further apart two faces are than one person's may be; first as they
    are, then with one of them mirrored, because some cameras' own side mirrors.
    """
    owner, count, pattern, pose = [], [], [], []
    for number, rows in enumerate(pieces):
        key = np.rint(looks.poses[rows] / POSE_STEP).astype(int)
        _, which, counts = np.unique(key, axis=0, return_inverse=True, return_counts=True)
        which = which.reshape(-1)
        for group in np.flatnonzero(counts >= min(LEAST_IN_POSE, counts.max())):
            members = rows[which == group]
            owner.append(number)
            count.append(len(members))
            pattern.append(looks.patterns[members].astype(np.float32).mean(axis=0))
            pose.append(looks.poses[members].mean(axis=0))
    patterns, poses = _unit(np.array(pattern)), np.array(pose, float)
    frames = np.array([len(pieces[number]) for number in owner])
    short = np.maximum(1 - np.minimum.outer(frames, frames) / ENOUGH, 0)
    member = np.zeros((len(pieces), len(owner)))
    member[owner, np.arange(len(owner))] = 1
    sums = []
    for others, towards in ((patterns, poses), (patterns[:, looks.mirror], poses * (-1, 1))):
        apart = 1 - (patterns @ others.T).astype(float)
        turned = np.linalg.norm(poses[:, None] - towards[None], axis=-1)
        allowed = APART + APART_PER_DEGREE * np.maximum(turned - POSE_FREE, 0) + APART_SHORT * short
        weight = np.exp(-turned / POSE_WEIGHT) * np.outer(count, count)
        sums.append([member @ table @ member.T for table in (weight * (apart - allowed), weight)])
    excess, weight = np.moveaxis(np.array(sums), 1, 0)
    return (excess + excess.swapaxes(1, 2)) / 2, (weight + weight.swapaxes(1, 2)) / 2
