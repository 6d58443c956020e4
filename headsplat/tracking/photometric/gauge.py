"""The pose that all frames share: images do not tell it, so that landmarks do.

With free colors a clip looks the same from a head that is turned, shifted or grown a little in all
frames alike, and only the frames' weak ties to their landmarks would resist a drift. The common
turn stays that of the landmarks' solve; where the head then lies, the landmarks say again.
"""

from dataclasses import replace

import torch
from torch import Tensor

from headsplat.rotations import axis_angle_from_matrix, matrix_from_axis_angle
from headsplat.tracking.layout import Layout, State
from headsplat.tracking.solver import ClipSolver

ROUNDS = 2


def common_motions(state: State, layout: Layout) -> Tensor:
    """Motions that all frames may share: the place of each frame by them.

    Args:
        state: of the frames.
        layout: of the unknowns.

    Returns:
        (N, 3, 4) place by three shifts (metres) in the head's own axes, and by growth.
    """
    new = state.frame.new_zeros(len(state.frame), 3, 4)
    place = state.frame[:, layout.place]
    scale = place[:, 2:].exp()
    by_depth = -scale / state.shared[layout.focal].exp()
    new[:, :2, :3] = scale[..., None] * state.rotation[:, :2]
    new[:, :2, :3] += (place[:, :2] * by_depth)[..., None] * state.rotation[:, 2:]
    new[:, 2:, :3] = by_depth[..., None] * state.rotation[:, 2:]
    new[:, 2, 3] = 1
    return new


def settle(solver: ClipSolver, state: State, start: State, outlier: float) -> State:
    """Turn all frames alike to the mean turn of `start`, then shift them alike to their landmarks.

    Args:
        solver: of the frames.
        state: of the frames.
        start: the landmarks' solve of the same frames.
        outlier: where residuals lose their pull, in standard deviations.
    """
    layout = solver.layout
    turn = axis_angle_from_matrix(start.rotation.mT @ state.rotation).mean(0)
    state = replace(state, rotation=state.rotation @ matrix_from_axis_angle(-turn))
    columns = layout.place
    for _ in range(ROUNDS):
        normal = solver.linearize(state, outlier, 0)
        motions = common_motions(state, layout)
        matrix = (motions.mT @ normal.frame[:, columns, columns] @ motions).sum(0)
        pull = (motions.mT @ normal.frame_gradient[:, columns, None]).sum(0)
        step = torch.zeros_like(state.frame)
        step[:, columns] = -(motions @ torch.linalg.solve(matrix, pull)).squeeze(-1)
        state = state.moved(layout, step, torch.zeros_like(state.shared))
    return state
