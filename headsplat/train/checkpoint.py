"""Training checkpoints: on disk to resume a run, and on the device to repeat steps.

All random numbers are drawn from the seed before the first step (`headsplat.train.plan`). A
checkpoint therefore needs only the step number, the parameters, Adam's moments and the loss
history.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from headsplat.runtime.files import publish
from headsplat.runtime.logs import log
from headsplat.runtime.pickles.placeholders import PickleError
from headsplat.runtime.pickles.torch_files import read_torch
from headsplat.runtime.storage import storage_error

STATE_FILE = "state.pt"


@dataclass(frozen=True)
class State:
    """One checkpoint, after `step` steps and `seconds` of training."""

    step: int
    seconds: float
    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    per_image: Tensor
    terms: Tensor


def save_state(folder: Path, state: State) -> None:
    """Write the state atomically; a kill leaves the previous one."""
    with publish(folder / STATE_FILE) as temporary:
        torch.save(vars(state), temporary)


def load_state(folder: Path) -> State | None:
    """The last saved state of a run with the same key, or None; a damaged file is removed.

    Raises:
        UserError: the file may be intact, but reading it failed.
    """
    path = folder / STATE_FILE
    if not path.exists():
        return None
    try:
        return State(**read_torch(path))
    except (PickleError, TypeError, OSError) as error:
        refused = storage_error(error, path)
        if refused is not None:
            raise refused from error
        log.warning("%s is damaged (%s): starting over", path, error)
        path.unlink(missing_ok=True)
        return None


class Snapshot:
    """Copy of parameters and optimizer on the device, to repeat steps that lacked Gaussians.

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
        """Set the step without a copy, where steps are never repeated (on a CPU)."""
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
