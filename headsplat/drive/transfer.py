"""Transfer of a face from one person to another, relative to both neutral faces.

Expressions move by the difference of the two neutral codes. The jaw's turn from the driver's
neutral, in the head's axes, is applied to the subject's neutral. Eyes go as far from open to closed
as the driver's, and lips that the driver closes are closed. The gaze is taken as it is.
"""

import torch
from torch import Tensor

from headsplat.drive.closure import FaceAtRest, closed_lids, closed_lips
from headsplat.drive.face_clip import FaceClip, ranked
from headsplat.drive.face_mesh import FaceMesh
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


class FaceTransfer:
    """Codes of one driver as those of one subject, frame by frame.

    Args:
        driver: the driver's clip, in which the neutral face is looked for unless it is known.
        subject: the clip of the driven subject.
        options: `face`, `amplitude`, `neutral` and `subject_neutral` of the motion.

    Raises:
        UserError: a clip lacks a named frame.
    """

    def __init__(self, driver: FaceClip, subject: FaceClip, options: MotionOptions) -> None:
        self._same = True
        if options.face == ABSOLUTE:
            return
        here = driver.neutral
        if here is None:
            here = neutral_face(driver, options.neutral)
        there = neutral_face(subject, options.subject_neutral)
        self._same = torch.equal(here, there)
        if self._same:
            return
        self._factors: tuple[Tensor, Tensor] | None = None
        if options.amplitude == SUBJECT:
            self._factors = _factors(driver, subject, here, there)
        self._driver, self._subject = FaceAtRest.of(driver, here), FaceAtRest.of(subject, there)

    def codes(self, frames: Tensor) -> Tensor:
        """Codes of some of the driver's frames, (N, C) float64, as the subject's.

        Equal neutral faces give the driver's codes, bit for bit.
        """
        if self._same:
            return frames
        driver, subject = self._driver, self._subject
        exp, turn = _deviations(frames, driver.code)
        if self._factors is not None:
            exp, turn = exp * self._factors[0], turn * self._factors[1]
        rest = FrameCode(subject.code)
        jaw = matrix_from_axis_angle(turn) @ matrix_from_6d(rest.jaw)
        exp = _bounded(rest.exp + exp, driver.mesh)
        codes = FrameCode(frames).replace(exp=exp, jaw=matrix_to_6d(jaw))
        codes = closed_lids(driver, subject, frames, codes.vector)
        return closed_lips(driver, subject, frames, codes)


def transfer_face(driver: FaceClip, subject: FaceClip, options: MotionOptions) -> Tensor:
    """Codes (N, C) float64 of all of the driver's frames as those of the subject.

    Arguments and errors as of `FaceTransfer`.
    """
    return FaceTransfer(driver, subject, options).codes(driver.codes)


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


def _bounded(exp: Tensor, mesh: FaceMesh) -> Tensor:
    """(N, E) expressions within the head model's bounds."""
    bounds = mesh.geometry.model.expression_range
    if bounds is None:
        return exp
    low, high = torch.from_numpy(bounds).to(exp).T
    return torch.minimum(torch.maximum(exp, low), high)
