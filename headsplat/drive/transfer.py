"""Transfer of a face from one person to another, relative to both neutral faces.

Expressions move by the difference of the two neutral codes. The jaw's turn from the driver's
neutral, in the head's axes, is applied to the subject's neutral. Lids keep their part of the way
from open to closed, so that a closed eye stays closed. The gaze is taken as it is.
"""

import torch
from torch import Tensor

from headsplat.drive.face_clip import FaceClip
from headsplat.drive.closure import closed_lids, closed_lips
from headsplat.drive.kinds import ABSOLUTE, SUBJECT, MotionOptions
from headsplat.drive.neutral import neutral_face
from headsplat.frame_code import FrameCode
from headsplat.rotations import (
    axis_angle_from_matrix,
    matrix_from_6d,
    matrix_from_axis_angle,
    matrix_to_6d,
)


def transfer_face(driver: FaceClip, subject: FaceClip, options: MotionOptions) -> Tensor:
    """Codes of the driver as those of the subject.

    Equal neutral faces give the driver's codes, bit for bit.

    Args:
        driver: N frames to transfer.
        subject: the clip of the driven subject.
        options: `face`, `range`, `neutral` and `subject_neutral` of the motion.

    Returns:
        (N, C) float64.

    Raises:
        UserError: a clip lacks a named frame.
    """
    if options.face == ABSOLUTE:
        return driver.codes
    here = neutral_face(driver, options.neutral)
    there = neutral_face(subject, options.subject_neutral)
    if torch.equal(here, there):
        return driver.codes
    a, b, code = FrameCode(here), FrameCode(there), FrameCode(driver.codes)
    exp = code.exp + (b.exp - a.exp)
    bounds = driver.mesh.geometry.model.expression_range
    if bounds is not None:
        low, high = torch.from_numpy(bounds).to(exp).T
        exp = torch.minimum(torch.maximum(exp, low), high)
    jaw = matrix_from_6d(code.jaw) @ matrix_from_6d(a.jaw).T @ matrix_from_6d(b.jaw)
    codes = code.replace(exp=exp, jaw=matrix_to_6d(jaw)).vector
    codes = closed_lids(driver, subject, here, there, codes)
    return closed_lips(driver, subject, here, there, codes)
