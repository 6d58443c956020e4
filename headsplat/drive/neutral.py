"""The neutral face of a clip: lips closed, relaxed, eyes open and ahead.

Codes of two people differ at rest: the identity that a tracker solves leaves a part of the face's
form to the expressions. The neutral face is the mode of the relaxed frames, not their mean. So a
smile or a raised brow in some of them does not count.
"""

import torch
from torch import Tensor

from headsplat.drive.face_clip import FaceClip, ranked
from headsplat.frame_code import FrameCode
from headsplat.rotations import axis_angle_from_matrix, matrix_from_6d, matrix_to_6d, mean_rotation
from headsplat.runtime.errors import UserError
from headsplat.runtime.logs import log

# Lips count as closed up to this part of the clip's range of openings above its smallest one, or up
# to `CLOSED` meters above it if that is more. Clips whose smallest one is beyond `OPEN` have none.
CLOSED_SHARE, CLOSED, OPEN = 0.1, 1e-3, 4e-3
EXTREMES = 0.02, 0.98
# Lids count as open up to this code above their median, eyes as ahead within this angle.
LIDS, GAZE = 0.12, 0.14
# Seconds of relaxed frames that a neutral face needs.
RELAXED = 0.2
# Without so many: this part of the frames, those with the lowest opening.
LOWEST = 0.1
# Root mean square distances of landmarks in meters: width of the density whose maximum is the
# mode, and of the prior about the face without expression coefficients. The prior decides between
# a face at rest and expressions that a clip holds.
WIDTH, PRIOR = 1e-3, 2.5e-3
_MOST = 512


def neutral_face(clip: FaceClip, named: tuple[int, ...] = ()) -> Tensor:
    """The neutral face of a clip.

    Args:
        clip: frames of the person.
        named: numbers of neutral frames; none to find them.

    Returns:
        (C,) float64 frame code.

    Raises:
        UserError: the clip lacks a named frame.
    """
    rows = _named(clip, named) if named else _relaxed(clip)
    codes = clip.codes[rows]
    weights = codes.new_ones(len(codes)) if named else _near_mode(clip, codes)
    return _mean(codes, weights)


def _named(clip: FaceClip, named: tuple[int, ...]) -> Tensor:
    lacking = sorted(set(named) - set(clip.ids.tolist()))
    if lacking:
        raise UserError(
            f"{clip.name}: has no frame {lacking[0]} for the neutral face; its frames are "
            f"{int(clip.ids[0])} to {int(clip.ids[-1])}"
        )
    return torch.isin(clip.ids, torch.tensor(named)).nonzero()[:, 0]


def _relaxed(clip: FaceClip) -> Tensor:
    """(M,) rows of relaxed frames, at most `_MOST`, spread evenly."""
    usable, code = clip.usable, FrameCode(clip.codes)
    opening, speed = clip.mesh.opening(clip.codes), clip.speed()
    low, high = (ranked(opening[usable], share) for share in EXTREMES)
    limit = low + (CLOSED_SHARE * (high - low)).clamp(min=CLOSED)
    lids = code.eyelids - code.eyelids[usable].median(0).values
    gaze = axis_angle_from_matrix(matrix_from_6d(code.eyes.unflatten(-1, (2, 6)))).flatten(1)
    gaze = (gaze - gaze[usable].median(0).values).unflatten(1, (2, 3)).norm(dim=-1)
    awake = usable & (lids <= LIDS).all(1)
    still = (speed <= speed[usable].median()) & (gaze <= GAZE).all(1)
    relaxed = awake & still & (opening <= limit) & (low <= OPEN)
    span = float(clip.times[-1] - clip.times[0]) / max(1, len(clip.times) - 1)
    if relaxed.sum() * span < RELAXED:
        awake = awake if awake.any() else usable
        relaxed = awake & (opening <= ranked(opening[awake], LOWEST))
        log.info(
            "%s: no relaxed face with closed lips in %.1f s; neutral: the %d frames with the "
            "lowest opening", clip.name, RELAXED, int(relaxed.sum()),
        )  # fmt: skip
    rows = relaxed.nonzero()[:, 0]
    return rows[torch.linspace(0, len(rows) - 1, min(len(rows), _MOST)).round().long()]


def _near_mode(clip: FaceClip, codes: Tensor) -> Tensor:
    """(M,) weights: near the highest density of landmark positions 1, far away 0."""
    blank = FrameCode(codes).replace(exp=0.0).vector
    flat, zero = (torch.cat(list(clip.mesh.points(c))).flatten(1) for c in (codes, blank))
    count = flat.shape[1] / 3
    density = torch.exp(-torch.cdist(flat, flat).square() / (2 * count * WIDTH**2))
    prior = -(flat - zero).square().sum(1) / (2 * count * PRIOR**2)
    return density[(density.sum(1).log() + prior).argmax()]


def _mean(codes: Tensor, weights: Tensor) -> Tensor:
    """(M, C), (M,) -> (C,): weighted mean, of rotations the chordal one."""
    weights = weights / weights.sum()
    mean = FrameCode((weights[:, None] * codes).sum(0))
    turns = matrix_from_6d(FrameCode(codes).joints) * weights[:, None, None, None] * len(codes)
    jaw, *eyes = (matrix_to_6d(mean_rotation(turns[:, joint])) for joint in range(3))
    return mean.replace(jaw=jaw, eyes=torch.cat(eyes)).vector
