"""The trunk's pose in all frames, from its steps between frames: sparse nonlinear least squares.

Unknowns of a frame are a left increment of the trunk's rotation and the camera position of its
anchor. Steps couple frames at most `REACH` apart, so that blocks of `REACH` frames make the normal
equations block-tridiagonal.
"""

from dataclasses import dataclass

import numpy as np
import torch

from headsplat.rotations import axis_angle_from_matrix, matrix_from_axis_angle
from headsplat.tracking.banded import factorize

REACH = 16
ROUNDS = 6
SIZE = 6
# Steps that disagree with the others by more than this many standard deviations are doubted.
OUTLIER = 12.0
# The trunk stays below the head. Standard deviations over one second: of the distance between the
# neck joint as part of the head and as part of the trunk, and of the neck's turn.
JOINT_STD, TURN_STD = 0.012, 0.35
# A neck turns no further than this, radians; standard deviation beyond it.
TURN_LIMIT, LIMIT_STD = 1.1, 0.05
# Change of the change from frame to frame at 25 fps, radians and meters.
BEND_STD = (0.003, 0.003, 0.003, 0.0015, 0.0015, 0.0015)
FRAME_RATE = 25.0


@dataclass(frozen=True)
class Poses:
    """turn (N, 3, 3) trunk to camera and place (N, 3) of a point of the trunk, float64."""

    turn: np.ndarray
    place: np.ndarray


@dataclass(frozen=True)
class Steps:
    """E steps between frames, as `headsplat.tracking.trunk.steps.Step`.

    first, second (E,) rows; turn (E, 3, 3); shift, center (E, 3); information (E, 6, 6).
    """

    first: np.ndarray
    second: np.ndarray
    turn: np.ndarray
    shift: np.ndarray
    center: np.ndarray
    information: np.ndarray


def solve_poses(
    start: Poses, head: Poses, lever: np.ndarray, steps: Steps, linked: np.ndarray, fps: float
) -> Poses:
    """The most likely poses.

    Args:
        start: first guess; places are of the anchor.
        head: the head's rotation, and the camera position of the neck joint as part of the head.
        lever: (3,) from the anchor to the neck joint, meters, in the trunk.
        steps: measured between frames at most `REACH` apart.
        linked: (N - 1,) bool, False at cuts.
        fps: frames a second.
    """
    poses = start
    for _ in range(ROUNDS):
        system = _System(len(start.place))
        _add_steps(system, poses, steps)
        _add_head(system, poses, head, lever, fps)
        _add_bends(system, poses, linked, fps)
        step = system.solve()
        poses = Poses(_exp(step[:, :3]) @ poses.turn, poses.place + step[:, 3:])
    return poses


class _System:
    """Normal equations of N frames."""

    def __init__(self, frames: int) -> None:
        self.frames, blocks = frames, -(-frames // REACH)
        shape = (REACH, SIZE, REACH, SIZE)
        self._diagonal = np.zeros((blocks, *shape))
        self._below = np.zeros((max(blocks - 1, 0), *shape))
        self._right = np.zeros((blocks * REACH, SIZE))
        index = np.arange(REACH)[:, None], np.arange(SIZE)
        # Keeps the unused frames of the last block regular.
        self._diagonal[:, index[0], index[1], index[0], index[1]] += 1e-9
        self._diagonal[-1, index[0], index[1], index[0], index[1]] += 1e-3

    def add(self, rows: np.ndarray, columns: np.ndarray, blocks: np.ndarray) -> None:
        """Add (E, 6, 6) blocks at frames rows >= columns; the upper half follows by symmetry."""
        block, place = rows // REACH, rows % REACH
        other, column = columns // REACH, columns % REACH
        near = block == other
        at = (block[near], place[near], slice(None), column[near])
        np.add.at(self._diagonal, at, blocks[near])
        apart = near & (rows != columns)
        at = (block[apart], column[apart], slice(None), place[apart])
        np.add.at(self._diagonal, at, blocks[apart].transpose(0, 2, 1))
        far = ~near
        np.add.at(self._below, (other[far], place[far], slice(None), column[far]), blocks[far])

    def pull(self, rows: np.ndarray, gradient: np.ndarray) -> None:
        """Add (E, 6) gradients."""
        np.add.at(self._right, rows, gradient)

    def solve(self) -> np.ndarray:
        """(N, 6) Gauss-Newton step."""
        size = REACH * SIZE

        def blocks(array: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(array.reshape(1, -1, size, size))

        factor = factorize(blocks(self._diagonal), blocks(self._below))
        right = torch.from_numpy(-self._right.reshape(1, -1, size, 1))
        solved = factor.back_solve(factor.half_solve(right)).reshape(-1, SIZE)
        return solved[: self.frames].numpy()


def _add_steps(system: _System, poses: Poses, steps: Steps) -> None:
    """Measured steps, by a robust loss (Geman-McClure)."""
    first, second = steps.first, steps.second
    error = poses.turn[second] @ poses.turn[first].transpose(0, 2, 1)
    turned = _log(error @ steps.turn.transpose(0, 2, 1))
    arm = np.einsum("eij,ej->ei", steps.turn, poses.place[first] - steps.center)
    moved = poses.place[second] - steps.center - arm - steps.shift
    off = np.concatenate([turned, moved], 1)
    size = np.einsum("ei,eij,ej->e", off, steps.information, off)
    weight = (1 + size / OUTLIER**2) ** -2
    matrix = steps.information * weight[:, None, None]
    back = np.zeros_like(matrix)
    back[:, :3, :3] = back[:, 3:, 3:] = -steps.turn
    pulled = np.einsum("eij,ej->ei", matrix, off)
    system.add(second, second, matrix)
    system.add(second, first, matrix @ back)
    system.add(first, first, back.transpose(0, 2, 1) @ matrix @ back)
    system.pull(second, pulled)
    system.pull(first, np.einsum("eji,ej->ei", back, pulled))


def _add_head(system: _System, poses: Poses, head: Poses, lever: np.ndarray, fps: float) -> None:
    """The prior that the trunk stays below the head, and that necks turn only so far."""
    rows = np.arange(len(poses.place))
    arm = poses.turn @ lever
    gap = poses.place + arm - head.place
    by = np.zeros((len(rows), 3, SIZE))
    by[:, :, 3:] = np.eye(3)
    by[:, :, :3] = -_cross(arm)
    weight = 1 / (JOINT_STD**2 * fps)
    matrix = weight * by.transpose(0, 2, 1) @ by
    gradient = weight * np.einsum("nij,ni->nj", by, gap)
    turned = _log(poses.turn @ head.turn.transpose(0, 2, 1))
    angle = np.linalg.norm(turned, axis=1)
    beyond = np.maximum(angle - TURN_LIMIT, 0) / np.maximum(angle, 1e-6) / LIMIT_STD**2
    stiff = 1 / (TURN_STD**2 * fps) + beyond
    matrix[:, range(3), range(3)] += stiff[:, None]
    gradient[:, :3] += stiff[:, None] * turned
    system.add(rows, rows, matrix)
    system.pull(rows, gradient)


def _add_bends(system: _System, poses: Poses, linked: np.ndarray, fps: float) -> None:
    """The prior that motion is smooth, except at cuts."""
    whole = np.flatnonzero(linked[1:] & linked[:-1]) + 1
    if not len(whole):
        return
    change = _log(poses.turn[1:] @ poses.turn[:-1].transpose(0, 2, 1))
    moved = np.diff(poses.place, axis=0)
    change = np.concatenate([change, moved], 1)
    bend = change[whole] - change[whole - 1]
    weight = (np.array(BEND_STD) * (FRAME_RATE / fps) ** 2) ** -2
    matrix = np.broadcast_to(np.diag(weight), (len(whole), SIZE, SIZE))
    taps = ((-1, 1.0), (0, -2.0), (1, 1.0))
    for late, a in taps:
        system.pull(whole + late, a * weight * bend)
        for early, b in taps:
            if early <= late:
                system.add(whole + late, whole + early, a * b * matrix)


def _exp(vectors: np.ndarray) -> np.ndarray:
    """(n, 3) axis-angle -> (n, 3, 3)."""
    return matrix_from_axis_angle(torch.from_numpy(np.ascontiguousarray(vectors))).numpy()


def _log(turns: np.ndarray) -> np.ndarray:
    """(n, 3, 3) -> (n, 3) axis-angle."""
    return axis_angle_from_matrix(torch.from_numpy(np.ascontiguousarray(turns))).numpy()


def _cross(vectors: np.ndarray) -> np.ndarray:
    """(n, 3) -> (n, 3, 3) matrices of the cross product."""
    zero = np.zeros(len(vectors))
    x, y, z = vectors.T
    rows = [[zero, -z, y], [z, zero, -x], [-y, x, zero]]
    return np.stack([np.stack(row, 1) for row in rows], 1)
