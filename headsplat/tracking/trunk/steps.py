"""Rigid motion of the trunk between two frames, from where its points went."""

from dataclasses import dataclass

import numpy as np

ROUNDS = 5
OUTLIER = 3.0  # scale of the robust loss (Geman-McClure), in standard deviations
LEAST_NOISE = 0.05  # pixels
LEAST_POINTS = 8
# Flow errors are correlated: the points of a frame count as at most this many.
INDEPENDENT = 30.0
# Weak prior of one step, radians and meters, for directions that the points do not show.
STEP_STD = np.array([0.2, 0.2, 0.2, 0.05, 0.05, 0.1])


@dataclass(frozen=True)
class Step:
    """Motion x -> center + turn (x - center) + shift of camera points, meters.

    Attributes:
        turn: (3, 3).
        shift: (3,).
        center: (3,).
        information: (6, 6) inverse covariance of turn (left increment, radians) and shift.
    """

    turn: np.ndarray
    shift: np.ndarray
    center: np.ndarray
    information: np.ndarray

    def matrix(self) -> np.ndarray:
        """(4, 4) the motion of camera points."""
        whole = np.eye(4)
        whole[:3, :3] = self.turn
        whole[:3, 3] = self.center + self.shift - self.turn @ self.center
        return whole


def fit_step(
    points: np.ndarray,
    pixels: np.ndarray,
    information: np.ndarray,
    camera: np.ndarray,
    center: np.ndarray,
) -> Step | None:
    """Robust Gauss-Newton fit of one step; None where too few points were found.

    Args:
        points: (n, 3) camera points of the first frame, meters.
        pixels: (n, 2) where they are in the second frame.
        information: (n, 2, 2) of the pixels, relative.
        camera: (3, 3) intrinsics.
        center: (3,) about which the step turns.
    """
    if len(points) < LEAST_POINTS:
        return None
    focal, middle = np.array([camera[0, 0], camera[1, 1]]), camera[:2, 2]
    arms = points - center
    turn, shift = np.eye(3), np.zeros(3)
    prior, trust = np.diag(STEP_STD**-2), information.trace(axis1=1, axis2=2)
    for _ in range(ROUNDS):
        turned = arms @ turn.T
        moved = turned + (shift + center)
        off = moved[:, :2] / moved[:, 2:] * focal + middle - pixels
        weighed = (information @ off[..., None])[..., 0]
        size = (weighed * off).sum(1)
        noise = max(1.4826 * _weighted_median(np.sqrt(size), trust), LEAST_NOISE)
        weight = (1 + size / (OUTLIER * noise) ** 2) ** -2
        rows = _rows(turned, moved, focal)
        pull = (information * (weight / noise**2)[:, None, None] @ rows).reshape(-1, 6)
        matrix = pull.T @ rows.reshape(-1, 6)
        step = np.linalg.solve(matrix + prior, -(pull.T @ off.reshape(-1)))
        turn, shift = _rotation(step[:3]) @ turn, shift + step[3:]
    counted = float((weight * trust / 2).sum())
    if not counted >= LEAST_POINTS / 2:  # also where it is not a number
        return None
    return Step(turn, shift, center, matrix * min(1.0, INDEPENDENT / counted))


def _rows(turned: np.ndarray, moved: np.ndarray, focal: np.ndarray) -> np.ndarray:
    """(n, 2, 6) pixels by turn and shift."""
    x, y, z = turned.T
    rows = np.zeros((len(turned), 2, 6))
    for axis in (0, 1):
        rows[:, axis, 3 + axis] = across = focal[axis] / moved[:, 2]
        rows[:, axis, 5] = along = -across * moved[:, axis] / moved[:, 2]
        # The cross product of the arm with the derivative by the point.
        rows[:, axis, 0] = y * along - (z * across if axis else 0)
        rows[:, axis, 1] = (0 if axis else z * across) - x * along
        rows[:, axis, 2] = x * across if axis else -y * across
    return rows


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    """The value (n,) at half of the weight (n,)."""
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(total, total[-1] / 2)]])


def _rotation(vector: np.ndarray) -> np.ndarray:
    """(3,) axis-angle -> (3, 3)."""
    angle = float(np.linalg.norm(vector))
    x, y, z = vector
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    if angle < 1e-8:
        return np.eye(3) + cross
    one, two = np.sin(angle) / angle, (1 - np.cos(angle)) / angle**2
    return np.eye(3) + one * cross + two * cross @ cross
