"""Transfer of a face from one person to another, relative to both neutral faces.

Expressions move by the difference of the two neutral codes. The jaw's turn from the driver's
neutral, in the head's axes, is applied to the subject's neutral. Eyes go as far from open to closed
as the driver's, and lips that the driver closes are closed. The gaze is taken as it is.
"""

import torch
from torch import Tensor

from headsplat.drive.closure import closed_lids, closed_lips
from headsplat.drive.face_clip import FaceClip, ranked
from headsplat.drive.kinds import ABSOLUTE, SUBJECT, MotionOptions
from headsplat.drive.neutral import neutral_face
from headsplat.frame_code import FrameCode
from headsplat.rotations import (
    axis_angle_from_matrix,
    matrix_from_6d,
    matrix_from_axis_angle,
    matrix_to_6d,
)

# Amplitude of a code: the deviation from the neutral that this part of the frames does not exceed.
AMPLITUDE = 0.95
# Bounds of the factor of a code, and what is added to both amplitudes so that noise does not count:
# this part of the expressions' standard deviation, and radians of the jaw.
SMALLEST, LARGEST = 0.5, 2.0
_NOISE, _JAW_NOISE = 0.1, 0.02


def transfer_face(driver: FaceClip, subject: FaceClip, options: MotionOptions) -> Tensor:
    """Codes of the driver as those of the subject.

    Equal neutral faces give the driver's codes, bit for bit.

    Args:
        driver: N frames to transfer.
        subject: the clip of the driven subject.
        options: `face`, `amplitude`, `neutral` and `subject_neutral` of the motion.

    Returns:
        (N, C) float64.

    Raises:
        UserError: a clip lacks a named frame.
    """
    if options.face == ABSOLUTE:
        return driver.codes
    here = driver.neutral
    if here is None:
        here = neutral_face(driver, options.neutral)
    there = neutral_face(subject, options.subject_neutral)
    if torch.equal(here, there):
        return driver.codes
    exp, turn = _deviations(driver.codes, here)
    if options.amplitude == SUBJECT:
        exp_factor, turn_factor = _factors(driver, subject, here, there)
        exp, turn = exp * exp_factor, turn * turn_factor
    rest = FrameCode(there)
    jaw = matrix_from_axis_angle(turn) @ matrix_from_6d(rest.jaw)
    codes = FrameCode(driver.codes).replace(
        exp=_bounded(rest.exp + exp, driver), jaw=matrix_to_6d(jaw)
    )
    codes = closed_lids(driver, subject, here, there, codes.vector)
    return closed_lips(driver, subject, here, there, codes)


def _deviations(codes: Tensor, neutral: Tensor) -> tuple[Tensor, Tensor]:
    """(N, E) of the expressions, and (N, 3) axis-angle of the jaw in the head's axes."""
    code, rest = FrameCode(codes), FrameCode(neutral)
    turn = matrix_from_6d(code.jaw) @ matrix_from_6d(rest.jaw).T
    return code.exp - rest.exp, axis_angle_from_matrix(turn)


def _factors(
    driver: FaceClip, subject: FaceClip, here: Tensor, there: Tensor
) -> tuple[Tensor, Tensor]:
    """(E,) and (1,): the subject's amplitude over the driver's, bounded."""
    amplitudes = []
    for clip, neutral in ((driver, here), (subject, there)):
        exp, turn = _deviations(clip.codes[clip.usable], neutral)
        amplitudes.append(
            (ranked(exp.abs(), AMPLITUDE), ranked(turn.norm(dim=1)[:, None], AMPLITUDE))
        )
    noise = _NOISE * torch.from_numpy(driver.mesh.geometry.model.expression_std).double()
    return tuple(
        ((theirs + added) / (ours + added)).clamp(SMALLEST, LARGEST)
        for ours, theirs, added in zip(*amplitudes, (noise, _JAW_NOISE), strict=True)
    )


def _bounded(exp: Tensor, clip: FaceClip) -> Tensor:
    """(N, E) expressions within the head model's bounds."""
    bounds = clip.mesh.geometry.model.expression_range
    if bounds is None:
        return exp
    low, high = torch.from_numpy(bounds).to(exp).T
    return torch.minimum(torch.maximum(exp, low), high)
