"""Joins a mouth and the rest of the face in one frame code."""

import numpy as np
import torch
from torch import Tensor

from headsplat.frame_code import FrameCode
from headsplat.heads.model import HeadModel
from headsplat.speech.mouth import MouthColumns
from headsplat.track import Track

# Motion of the lips below this share of the largest is left to the rest of the face.
_DAMPING = 0.02


def with_mouth(
    condition: Tensor, mouth: np.ndarray, columns: MouthColumns, head: HeadModel, track: Track
) -> Tensor:
    """Frame codes of a face with another mouth.

    On heads with named shapes the mouth's are replaced. On others (FLAME) each shape moves lips and
    brows together: the mouth's coefficients are taken, plus the part of the face's deviation from
    its mean that leaves the lips where they are.

    Args:
        condition: (n, C) float64 codes of the face.
        mouth: (n, K) mouth values.
        columns: which codes they are.
        head: the head model.
        track: the subject's, for its mean.
    """
    made = columns.put(condition, mouth)
    if columns.named:
        return made
    mean = torch.from_numpy(track.exp.astype("f8")).mean(0)
    rest = (FrameCode(condition).exp - mean) @ _without_lips(head)
    return FrameCode(made).replace(exp=FrameCode(made).exp + rest).vector


def _without_lips(head: HeadModel) -> Tensor:
    """(E, E) symmetric: removes the part of coefficients that moves the lips."""
    lips = head.expression_basis[head.regions["lips"]].reshape(-1, len(head.expression_std))
    values, vectors = torch.linalg.eigh(torch.from_numpy(lips.T.astype("f8") @ lips))
    moved = values / (values + _DAMPING**2 * values[-1])
    return torch.eye(len(values), dtype=torch.float64) - (vectors * moved) @ vectors.T
