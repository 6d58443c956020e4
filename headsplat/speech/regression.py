"""Kernel regression from windows of log-mels to frame codes, with blocked cross-validation.

The kernel is the mean of a Gaussian over the whole window and of Gaussians over each of its times.
The second part treats the times as additive, so that sounds in an order that the clip lacks are
predicted from their parts. Regularized least squares on at most `CENTERS` rows (the Nystroem
approximation of kernel ridge regression).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

CENTERS = 1000
# Widths of the Gaussians: gamma times the number of features they see.
WHOLE_GAMMA, SINGLE_GAMMA = 0.5, 1.0
RIDGES = (0.15, 0.3, 0.6, 1.2)  # regularizations to choose from
FOLDS = 5
GAP = 8  # frames between training and held-out frames, a third of a second
_ROWS = 2048  # rows of the kernel that are computed at once
_JITTER = 1e-6


def kernel(features: np.ndarray, centers: np.ndarray, times: int) -> np.ndarray:
    """(n, D), (C, D) -> (n, C) float32 in 0..1; D is `times` windows of equal size."""
    result = np.empty((len(features), len(centers)), np.float32)
    size = features.shape[1] // times
    for first in range(0, len(features), _ROWS):
        rows = features[first : first + _ROWS]
        whole = np.zeros((len(rows), len(centers)), np.float32)
        single = np.zeros_like(whole)
        for start in range(0, features.shape[1], size):
            a, b = rows[:, start : start + size], centers[:, start : start + size]
            square = a @ b.T
            square *= -2
            square += (a * a).sum(1)[:, None]
            square += (b * b).sum(1)
            whole += square
            square *= -SINGLE_GAMMA / size
            # Rounding makes distances of equal rows slightly negative.
            single += np.exp(np.minimum(square, 0, out=square), out=square)
        whole *= -WHOLE_GAMMA / features.shape[1]
        np.exp(np.minimum(whole, 0, out=whole), out=whole)
        result[first : first + _ROWS] = (whole + single / times) / 2
    return result


@dataclass(frozen=True, eq=False)
class KernelRegression:
    """A fitted regression.

    Attributes:
        centers: (C, D) float32 rows of features.
        weights: (C, K) float32.
        mean: (K,) float32, the prediction far from all centers.
        times: number of equal windows that a row of features consists of.
    """

    centers: np.ndarray
    weights: np.ndarray
    mean: np.ndarray
    times: int

    def predict(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Predictions (n, K) float32, and for each row its nearness (n,) to the training rows.

        Args:
            features: (n, D) float32.
        """
        predicted, near = [], []
        for first in range(0, len(features), _ROWS):
            similar = kernel(features[first : first + _ROWS], self.centers, self.times)
            predicted.append(similar @ self.weights + self.mean)
            near.append(nearness(similar))
        return np.concatenate(predicted), np.concatenate(near)


def nearness(similar: np.ndarray) -> np.ndarray:
    """(n, C) kernel values -> (n,): the mean of the ten highest of each row."""
    count = min(10, similar.shape[1])
    return np.partition(similar, -count, axis=1)[:, -count:].mean(1)


class RegressionTask:
    """Features and targets of one clip; the kernel is computed once for all fits.

    Args:
        features: (n, D) float32, one row per frame.
        targets: (n, K).
        times: see `KernelRegression`.
    """

    def __init__(self, features: np.ndarray, targets: np.ndarray, times: int) -> None:
        self._features, self._times = features, times
        self._targets = np.asarray(targets, np.float64)
        self._picked = np.sort(np.random.default_rng(0).permutation(len(features))[:CENTERS])
        self._similar = kernel(features, features[self._picked], times)
        self._total = self._moments(slice(0, len(features)))

    def _moments(self, part: slice) -> np.ndarray:
        """(C, C + K + 1) products of the kernel with itself, the targets and one."""
        size = self._similar.shape[1]
        total = np.zeros((size, size + self._targets.shape[1] + 1))
        for first in range(part.start, part.stop, _ROWS):
            rows = slice(first, min(first + _ROWS, part.stop))
            # In double precision: rows of silence are equal, and then the sums are singular.
            similar, targets = self._similar[rows].astype(np.float64), self._targets[rows]
            total += similar.T @ np.column_stack([similar, targets, np.ones(len(targets))])
        return total

    def _solve(
        self, moments: np.ndarray, rows: np.ndarray, ridge: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Centers used, their weights (c, K), and the targets' mean (K,), from some rows."""
        used = np.flatnonzero(rows[self._picked])
        mean = self._targets[rows].mean(0)
        among = self._similar[self._picked[used]][:, used].astype(np.float64)
        matrix = moments[np.ix_(used, used)] + ridge * (among + among.T) / 2
        matrix[np.diag_indices_from(matrix)] += _JITTER * len(self._features)
        products = moments[used, len(moments) : -1] - moments[used, -1:] * mean
        return used, cho_solve(cho_factor(matrix), products), mean

    def held_out(self, ridges: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
        """Predictions of each frame from the other folds, and their nearness.

        Args:
            ridges: regularizations.

        Returns:
            (len(ridges), n, K) and (n,).
        """
        predicted = np.empty((len(ridges), *self._targets.shape))
        near = np.empty(len(self._features))
        for fold, gaps in folds(len(near)):
            rows = np.ones(len(near), bool)
            rows[gaps] = False
            moments = self._total - self._moments(gaps)
            for row, ridge in enumerate(ridges):
                used, weights, mean = self._solve(moments, rows, ridge)
                similar = self._similar[fold][:, used]
                predicted[row, fold], near[fold] = similar @ weights + mean, nearness(similar)
        return predicted, near

    def fit(self, ridge: float) -> KernelRegression:
        """The regression from all rows."""
        every = np.ones(len(self._features), bool)
        _, weights, mean = self._solve(self._total, every, ridge)
        centers = self._features[self._picked]
        return KernelRegression(centers, *(v.astype("f4") for v in (weights, mean)), self._times)


def folds(count: int) -> Iterator[tuple[slice, slice]]:
    """Blocks of held-out frames, each also with the gaps beside it."""
    bounds = np.linspace(0, count, FOLDS + 1).astype(int)
    for start, stop in zip(bounds[:-1], bounds[1:], strict=True):
        yield slice(start, stop), slice(max(0, start - GAP), min(count, stop + GAP))


def held_out_means(targets: np.ndarray) -> np.ndarray:
    """(n, K): for each frame the mean of the other folds."""
    made = np.empty(targets.shape)
    for fold, gaps in folds(len(targets)):
        made[fold] = np.delete(targets, gaps, 0).mean(0)
    return made
