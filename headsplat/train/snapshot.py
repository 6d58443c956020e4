"""A copy of parameters and optimizer on the device: the last state that is known to be good."""

import torch
from torch import Tensor, nn


class Snapshot:
    """Where training goes back to when steps turn out to have lacked Gaussians.

    Args:
        model: its parameters are kept.
        optimizer: its state is kept.

    Attributes:
        step: steps done when it was taken.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self._parameters = list(model.parameters())
        self._optimizer = optimizer
        self._copies: list[Tensor] = []
        self.take(0)

    def _state(self) -> list[Tensor]:
        moments = [
            self._optimizer.state[parameter][name]
            for parameter in self._parameters
            for name in sorted(self._optimizer.state.get(parameter, {}))
        ]
        return [*self._parameters, *moments]

    def note(self, step: int) -> None:
        """Move on without a copy, where nothing can call for going back."""
        self.step = step

    @torch.no_grad()
    def take(self, step: int) -> None:
        """Copy the state as it is now, after `step` steps."""
        state = self._state()
        if len(state) != len(self._copies):
            self._copies = [value.detach().clone() for value in state]
        else:
            torch._foreach_copy_(self._copies, state)
        self.step = step

    @torch.no_grad()
    def restore(self) -> int:
        """Put the copied state back, in place; returns its step."""
        if len(self._copies) == len(self._parameters):
            self._optimizer.state.clear()  # it was taken before the first step
        for value, copy in zip(self._state(), self._copies, strict=True):
            value.copy_(copy)
        return self.step
