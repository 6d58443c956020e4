"""Fit of blend shape weights in 0..1 to the network's geometry, as Audio2Face-3D's solver does.

Weights x minimize x'Ax / 2 - b'x. With deltas D, strengths L1, L2, T (temporal), S (symmetry) and
the squared scale s of the head:

    A = D'D + s (L1^2/4 11' + 10 L2 I + 100 T I + 10 S sum (e_i - e_j)(e_i - e_j)')
    b = D' (geometry - neutral) + T s x_before

The geometry is linear in the skin coefficients, so that D' times it needs no vertices per frame.
"""

import numpy as np
from scipy.optimize import lsq_linear

from headsplat.runtime.progress import progress
from headsplat.speech.audio2face.folder import Actor, Poses

FPS = 30
_MOST_EXCHANGES = 50


class Solver:
    """Weights from skin coefficients.

    Args:
        actor: whose shapes are fitted.
    """

    def __init__(self, actor: Actor) -> None:
        poses, own = actor.poses, actor.parameters
        self._poses = poses
        self._numbers = np.flatnonzero(poses.active)
        deltas = poses.deltas[poses.active]
        upper = own["upper_face_strength"] * (1 - actor.lower)
        lower = own["lower_face_strength"] * actor.lower
        matrix = own["skin_strength"] * actor.matrix
        self._upper, self._lower = ((deltas * share) @ matrix.T for share in (upper, lower))
        self._rest = deltas @ (actor.rest + (upper + lower) * actor.constant)
        self._smoothing = own["upper_face_smoothing"], own["lower_face_smoothing"]
        self._curvature = _curvature(poses, deltas)
        self._memory = poses.strengths[2] * poses.scale

    def weights(self, skin: np.ndarray) -> np.ndarray:
        """(N, skin) coefficients at 30 fps -> (N, P) weights of all poses."""
        upper, lower = (smoothed(skin.astype(np.float64), s) for s in self._smoothing)
        targets = upper @ self._upper.T + lower @ self._lower.T + self._rest
        before = np.zeros(targets.shape[1])
        found = np.zeros((len(skin), len(self._poses.names)))
        for row, target in enumerate(progress(targets, len(targets), "blend shapes")):
            before = self._solve(target + self._memory * before, before)
            found[row, self._numbers] = before
        return found * self._poses.multipliers + self._poses.offsets

    def _solve(self, target: np.ndarray, start: np.ndarray) -> np.ndarray:
        high = np.ones(len(target))
        x = bounded(self._curvature, target, high, start)
        places = {number: k for k, number in enumerate(self._numbers)}
        clash = [(places[a], places[b]) for a, b in self._poses.cancel]
        if clash:
            for a, b in clash:
                high[a if x[a] < x[b] else b] = 0
            x = bounded(self._curvature, target, high, np.minimum(x, high))
        return x


def _curvature(poses: Poses, deltas: np.ndarray) -> np.ndarray:
    """(A, A) of the active poses."""
    first, second, temporal, symmetry = poses.strengths
    count = len(deltas)
    places = {number: k for k, number in enumerate(np.flatnonzero(poses.active))}
    spread = np.zeros((count, count))
    for a, b in poses.symmetric:
        difference = np.zeros(count)
        difference[places[a]], difference[places[b]] = 1, -1
        spread += np.outer(difference, difference)
    # A pose that moves none of the vertices would leave its weight free.
    ridge = (10 * second + 100 * temporal) * poses.scale + 1e-9 * np.square(deltas).sum(1).max()
    return (
        deltas @ deltas.T
        + 0.25 * first**2 * poses.scale
        + ridge * np.eye(count)
        + 10 * symmetry * poses.scale * spread
    )


def smoothed(values: np.ndarray, seconds: float) -> np.ndarray:
    """(N, C) at 30 fps after two exponential filters of this half-life; 0 for none."""
    if seconds <= 0:
        return values
    share = 1 - 0.5 ** (1 / FPS / seconds)
    result = np.empty_like(values)
    once = twice = values[0]
    for row, value in enumerate(values):
        once = once + share * (value - once)
        twice = twice + share * (once - twice)
        result[row] = twice
    return result


def bounded(
    curvature: np.ndarray, target: np.ndarray, high: np.ndarray, start: np.ndarray
) -> np.ndarray:
    """The x in 0..high that minimizes x'Ax / 2 - b'x.

    The bounds that hold are guessed from `start`, all wrong ones are exchanged at once, and the
    result is exact when none is wrong. Where that cycles, SciPy's solver takes over.

    Args:
        curvature: (P, P) A, positive definite.
        target: (P,) b.
        high: (P,) upper bounds.
        start: (P,) in 0..high.
    """
    free = (start > 0) & (start < high)
    at = np.where(start >= high, high, 0.0)
    slack = 1e-9 * (np.abs(target).max() + 1e-300)
    for _ in range(_MOST_EXCHANGES):
        x = np.where(free, 0.0, at)
        if free.any():
            some = curvature[free]
            x[free] = np.linalg.solve(some[:, free], target[free] - some @ x)
        slope = curvature @ x - target
        low_out, high_out = free & (x < 0), free & (x > high)
        wrong = ~free & (high > 0) & np.where(at > 0, slope > slack, slope < -slack)
        if not (low_out | high_out | wrong).any():
            return x
        at = np.where(high_out, high, np.where(low_out, 0.0, at))
        free = (free & ~low_out & ~high_out) | wrong
    root = np.linalg.cholesky(curvature)
    limits = (np.zeros(len(high)), np.maximum(high, 1e-12))
    found = lsq_linear(root.T, np.linalg.solve(root, target), limits, method="bvls")
    return np.clip(found.x, 0, high)
