"""State of an unfinished run, and what a resumed run needs to continue bit for bit.

Everything random is drawn from the seed before the first step (`headsplat.train.plan`), so the
step number, the parameters, Adam's moments and the loss history are all there is.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from headsplat.runtime.files import publish
from headsplat.runtime.logs import log
from headsplat.runtime.pickles.nodes import PickleError
from headsplat.runtime.pickles.torch_files import read_torch
from headsplat.runtime.storage import storage_error

STATE_FILE = "state.pt"


@dataclass(frozen=True)
class State:
    """One checkpoint: the run has done `step` steps."""

    step: int
    seconds: float
    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    per_image: Tensor
    terms: Tensor


def save_state(folder: Path, state: State) -> None:
    """Publish the state; a kill leaves the previous one."""
    with publish(folder / STATE_FILE) as temporary:
        torch.save(vars(state), temporary)


def load_state(folder: Path) -> State | None:
    """The state a previous run of the same key left, or None; a damaged one is removed.

    Raises:
        UserError: it may be whole, and the machine refuses to read it.
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
