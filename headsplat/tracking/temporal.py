"""Smoothness over time: first and second differences of all motion, none across a cut."""

import torch
from torch import Tensor

from headsplat.rotations import axis_angle_from_matrix
from headsplat.tracking.layout import Layout, State
from headsplat.tracking.priors import Priors


class Smoothness:
    """Quadratic energy 0.5 sum first |x[t+1]-x[t]|^2 + second |x[t+1]-2x[t]+x[t-1]|^2.

    Rotations enter by the axis-angle of the turn between neighbors; for the small turns of
    video frames its derivative by the left increments is the identity.

    Args:
        layout: of the unknowns.
        priors: gives the weights.
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
