"""Split the head's rotation into trunk (slow) and neck (fast).

Landmarks of a face do not show the trunk. It is assumed to follow the slow part of the head's
turns, and the neck the rest. The head's pose is unchanged.
"""

import math

import numpy as np
import torch
from scipy.linalg import solveh_banded

from headsplat.rotations import axis_angle_from_matrix, matrix_from_axis_angle, matrix_to_6d

# Crossover frequency, Hz: slower turns are the trunk's. At it, half of the amplitude is the neck's.
TRUNK_RATE = 0.25


def neck_rotations(head_R: np.ndarray, linked: np.ndarray, fps: float) -> np.ndarray:
    """The neck's part of every frame's turn.

    The trunk's part is the head's, smoothed by a penalty on second differences (Whittaker 1923)
    about the mean turn of each piece; the neck is what is left, so that trunk @ neck is the
    head's rotation to rounding.

    Args:
        head_R: (N, 3, 3) of the head in a still world.
        linked: (N - 1,) bool, False at cuts.
        fps: frames a second.

    Returns:
        (N, 6) 6D rows; the trunk's rotation is head_R @ neck'.
    """
    weight = (fps / (2 * math.pi * TRUNK_RATE)) ** 4
    turns = torch.as_tensor(np.asarray(head_R, dtype=np.float64))
    neck = torch.empty_like(turns)
    bounds = [0, *(np.flatnonzero(~np.asarray(linked, dtype=bool)) + 1), len(turns)]
    for low, high in zip(bounds[:-1], bounds[1:], strict=True):
        piece = turns[low:high]
        left, _, right = torch.linalg.svd(piece.mean(0))
        left[:, 2] *= torch.linalg.det(left @ right)
        mean = left @ right
        away = axis_angle_from_matrix(piece @ mean.mT).numpy()
        slow = matrix_from_axis_angle(torch.as_tensor(_smooth(away, weight)))
        neck[low:high] = (slow @ mean).mT @ piece
    return matrix_to_6d(neck).numpy()


def _smooth(values: np.ndarray, weight: float) -> np.ndarray:
    """(n, k) -> (n, k): least |x - values|^2 + weight |second differences of x|^2."""
    count = len(values)
    bands = np.zeros((3, count))  # upper form: second diagonal above, first above, the diagonal
    bands[2] = 1.0
    for offset, step in enumerate((1.0, -2.0, 1.0)):
        bands[2, offset : count - 2 + offset] += weight * step**2
    if count > 2:
        bands[1, 1:-1] += -2 * weight
        bands[1, 2:] += -2 * weight
        bands[0, 2:] += weight
    return solveh_banded(bands, values)
