"""Noise, priors, bounds and temporal smoothness of the tracking energy.

All numbers are standard deviations in stated units. Image lengths are fractions of the inter-ocular
distance (outer eye corners).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headsplat.heads.landmarks import MEDIAPIPE_GROUPS
from headsplat.heads.model import CONTOUR_POINTS
from headsplat.rotations import axis_angle_from_matrix
from headsplat.tracking.basis import LandmarkBasis
from headsplat.tracking.layout import Layout, State

# Systematic detector error and mismatch of point definitions, by landmark group.
NOISE = {
    "brows": 0.020, "left_eye": 0.012, "right_eye": 0.012, "nose": 0.025,
    "lips_outer": 0.014, "lips_inner": 0.012, "left_iris": 0.012, "right_iris": 0.012,
    "multipie68": 0.025,
}  # fmt: skip
# Points on the lid edges, without the corners; their position along the edge is not comparable.
LID_EDGES = tuple(
    group[k] for group in (MEDIAPIPE_GROUPS["left_eye"], MEDIAPIPE_GROUPS["right_eye"])
    for k in range(len(group)) if k not in (0, 8)
)  # fmt: skip
LID_SLIDE = 2.0
# Number of evenly spaced runs in which detector noise is measured.
NOISE_RUNS = 4000
CONTOUR_NOISE = 0.025
# The sides of the face oval do not follow the outline of a turned face: they run inside the far
# cheek's outline and outside the near one's, which exaggerates yaw. Measured on rendered clips of
# two heads: 0.12 to 0.19 per sine of yaw, RMS over the sides, and 0.06 around the chin. The value
# is lower, because the contour also holds the jaw of a turned face.
CONTOUR_TURN_NOISE = 0.1
CONTOUR_SIDES = (0, 1, 2, 3, 4, 12, 13, 14, 15, 16)
LIP_DISTANCE_NOISE = 0.008
EYELID_DISTANCE_NOISE = 0.006
# Inner lips that touch, meters, up and to the front; and the gaze by its scores, radians, pitch and
# yaw.
CONTACT_NOISE = 0.0007
GAZE_SCORE_NOISE = (0.04, 0.04)
# Scale of the robust loss (Geman-McClure), in standard deviations.
OUTLIER = 4.0
# Points that face away are guessed by the detector: full weight above the first cosine, almost none
# below the second.
FACING_FULL, FACING_NONE, HIDDEN_WEIGHT = 0.6, 0.2, 0.02
# Detector errors are correlated over time. For the shared unknowns a clip counts as at most this
# many independent frames.
INDEPENDENT_FRAMES = 20

# Prior of landmark offsets between detector and head model, meters.
OFFSET_STD = 0.001
JAW_STD = (0.20, 0.03, 0.03)
EYE_STD = (0.25, 0.35)
# The eyes share a gaze target: small convergence, no vertical divergence.
EYE_DIFFERENCE = (0.02, 0.06)
LID_STD, LID_DIFFERENCE = 0.6, 0.25
FOCAL_LOG_STD = 0.3
# A single camera cannot separate size and distance. A quadratic prior would shrink the head (small
# coefficients), so this prior prefers the size of the mean head.
SIZE_LOG_STD = 0.01

# Change per frame at 25 fps (first difference) and change of that change (second difference).
FIRST = {"turn": 0.10, "place": 0.10, "expression": 0.6, "jaw": 0.10, "eyes": 0.15, "lids": 0.6}
SECOND = {"turn": 0.004, "place": 0.006, "expression": 0.35, "jaw": 0.04, "eyes": 0.15, "lids": 0.5}
FRAME_RATE = 25.0

BOUNDS = {"jaw": ((-0.05, 0.7), (-0.2, 0.2), (-0.2, 0.2)), "lids": ((0.0, 1.0), (0.0, 1.0))}


@dataclass(frozen=True)
class Priors:
    """Priors in the columns of the solver.

    Attributes:
        precision: (P, P) of one frame's block; mean (P,).
        first, second: (P,) weights (1 / variance) of temporal differences.
        lower, upper: (P,) bounds.
        shared_precision: (Q, Q) of identity and log focal length; shared_mean (Q,).
    """

    precision: Tensor
    mean: Tensor
    first: Tensor
    second: Tensor
    lower: Tensor
    upper: Tensor
    shared_precision: Tensor
    shared_mean: Tensor


def build_priors(
    basis: LandmarkBasis, layout: Layout, size: float, log_focal: float, fps: float
) -> Priors:
    """Assemble the prior of a clip.

    Args:
        basis: source of the expression's statistics and range.
        layout: of the unknowns.
        size: inter-ocular distance in pixels, the unit of positions in the image.
        log_focal: mean of the focal length's prior.
        fps: frames a second; the temporal weights are scaled by it.
    """
    device = basis.bounds.device
    zero = torch.zeros(layout.frame_size, dtype=torch.float64, device=device)
    precision, mean = torch.diag(zero), zero.clone()

    def add(columns: range | slice, std: Tensor | tuple[float, ...] | float) -> None:
        block = precision[columns, columns]
        values = torch.as_tensor(std, dtype=torch.float64, device=device).expand(len(block))
        block.diagonal().add_(values**-2)

    add(layout.expression, basis.expression_std)
    add(layout.jaw, JAW_STD)
    add(layout.eyes, EYE_STD * 2)
    add(layout.lids, LID_STD)
    eyes, lids = layout.eyes.start, layout.lids.start
    pairs = [(eyes, eyes + 2, EYE_DIFFERENCE[0]), (eyes + 1, eyes + 3, EYE_DIFFERENCE[1])]
    for left, right, std in [*pairs, (lids, lids + 1, LID_DIFFERENCE)]:
        for row, column, sign in ((left, left, 1), (right, right, 1), (left, right, -1)):
            precision[row, column] += sign * std**-2
        precision[right, left] = precision[left, right]

    # First differences scale with the frame interval, second differences with its square.
    gap = FRAME_RATE / fps

    def temporal(strengths: dict[str, float], power: int) -> Tensor:
        std = torch.ones(layout.frame_size, dtype=torch.float64, device=device)
        for name, value in strengths.items():
            std[getattr(layout, name)] = value
        std[layout.expression] *= basis.expression_std
        std[layout.place.start : layout.place.start + 2] *= size
        return (std * gap**power) ** -2

    lower = torch.full_like(zero, -np.inf)
    upper = torch.full_like(zero, np.inf)
    lower[layout.expression], upper[layout.expression] = basis.bounds.unbind(1)
    for name, limits in BOUNDS.items():
        pair = torch.tensor(limits, dtype=torch.float64, device=device)
        lower[getattr(layout, name)], upper[getattr(layout, name)] = pair.unbind(1)
    shared = torch.eye(layout.shared_size, dtype=torch.float64, device=device)
    shared[layout.focal, layout.focal] = FOCAL_LOG_STD**-2
    growth = basis.size_gradient() / SIZE_LOG_STD
    shared[layout.identity, layout.identity] += torch.outer(growth, growth)
    shared_mean = torch.zeros_like(shared[0])
    shared_mean[layout.focal] = log_focal
    return Priors(
        precision, mean, temporal(FIRST, 1), temporal(SECOND, 2), lower, upper, shared, shared_mean
    )


def contour_share(rotation: Tensor, noise: float) -> Tensor:
    """Weights of the jaw line: 1, but lower at the sides of turned faces.

    Args:
        rotation: (n, 3, 3) from the head to the camera.
        noise: standard deviation of the jaw line in front.

    Returns:
        (n, 17).
    """
    share = rotation.new_ones(len(rotation), CONTOUR_POINTS)
    turn = CONTOUR_TURN_NOISE * rotation[:, 2, 0] / noise
    share[:, list(CONTOUR_SIDES)] = 1 / (1 + turn.square())[:, None]
    return share


def landmark_noise(basis: LandmarkBasis) -> np.ndarray:
    """Tabulated standard deviation of the landmarks of `basis`.

    Returns:
        (L, 2) along the line through the eyes and across it, as fractions of the inter-ocular
        distance.
    """
    noise = np.ones((len(basis.index), 2))
    for name, rows in basis.groups.items():
        noise[rows] = NOISE[name]
    noise[np.isin(basis.index, LID_EDGES), 0] *= LID_SLIDE
    return noise


def measure_noise(points: np.ndarray, seen: np.ndarray, linked: np.ndarray) -> np.ndarray:
    """(K,) detector noise in pixels, from third differences, which are small for smooth motion.

    Args:
        points: (N, K, 2) pixels.
        seen: (N,) frames that count.
        linked: (N - 1,) neighbors of one motion.
    """
    runs = np.convolve(seen, np.ones(4), "valid") == 4 if len(seen) >= 4 else np.zeros(0, bool)
    if len(runs):
        runs &= np.convolve(linked, np.ones(3), "valid") == 3
    if runs.sum() < 8:
        return np.zeros(points.shape[1])
    start = np.flatnonzero(runs)
    start = start[np.linspace(0, len(start) - 1, min(len(start), NOISE_RUNS)).astype(int)]
    third = points[start + 3] - 3 * points[start + 2] + 3 * points[start + 1] - points[start]
    # Head motion moves all points alike; the residual after the common shift is the noise.
    third -= np.median(third, axis=1, keepdims=True)
    return np.median(np.abs(third), axis=(0, 2)) / 0.6745 / np.sqrt(20)


class Smoothness:
    """Quadratic energy 0.5 sum first |x[t+1]-x[t]|^2 + second |x[t+1]-2x[t]+x[t-1]|^2.

    Rotations enter by the axis-angle of the turn between neighbors; for the small turns of
    video frames its derivative by the left increments is the identity.

    Args:
        layout: of the unknowns.
        priors: source of the weights.
        linked: (N - 1,) bool, False where frame and next frame belong to different pieces.
    """

    def __init__(self, layout: Layout, priors: Priors, linked: Tensor) -> None:
        self.layout = layout
        one = linked.to(torch.float64)
        self.first = one[:, None] * priors.first
        self.second = (one[1:] * one[:-1])[:, None] * priors.second

    def differences(self, state: State) -> Tensor:
        """(N - 1, P) from each frame to the next."""
        change = state.frame[1:] - state.frame[:-1]
        turn = state.rotation[1:] @ state.rotation[:-1].mT
        change[:, self.layout.turn] = axis_angle_from_matrix(turn)
        return change

    def cost(self, state: State) -> Tensor:
        """The energy, a scalar."""
        change = self.differences(state)
        bend = change[1:] - change[:-1]
        return 0.5 * ((self.first * change.square()).sum() + (self.second * bend.square()).sum())

    def gradient(self, state: State) -> Tensor:
        """(N, P)."""
        change = self.differences(state)
        flow = self.first * change
        pull = self.second * (change[1:] - change[:-1])
        flow[1:] += pull
        flow[:-1] -= pull
        gradient = torch.zeros_like(state.frame)
        gradient[1:] += flow
        gradient[:-1] -= flow
        return gradient

    def bands(self) -> tuple[Tensor, Tensor, Tensor]:
        """The Hessian's diagonals: (N, P), couplings to the next frame, and to the one after."""
        frames = len(self.first) + 1
        center = self.first.new_zeros(frames, self.first.shape[1])
        center[1:] += self.first
        center[:-1] += self.first
        near = -self.first.clone()
        center[2:] += self.second
        center[1:-1] += 4 * self.second
        center[:-2] += self.second
        near[1:] -= 2 * self.second
        near[:-1] -= 2 * self.second
        return center, near, self.second.clone()
