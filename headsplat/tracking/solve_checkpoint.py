"""Checkpoints of a clip's solver states in scratch, from which an interrupted run resumes."""

import numpy as np
import torch
from torch import Tensor

from headsplat.runtime.files import read_npz, write_npz
from headsplat.runtime.logs import log
from headsplat.runtime.scratch import Scratch
from headsplat.runtime.storage import DamagedFile
from headsplat.tracking.layout import State
from headsplat.tracking.solver import SolveProgress


class SolveCheckpoint:
    """Saves and loads solver states, one `.npz` per solve; does nothing without a folder.

    Args:
        store: the stage's keyed folder, or None.
        device: torch device on which states are loaded.

    Attributes:
        device: as given.
    """

    def __init__(self, store: Scratch | None, device: str) -> None:
        self._store, self.device = store, device

    def save(self, stage: str, progress: SolveProgress) -> None:
        """Write the state of the solve `stage`."""
        if self._store is None:
            return
        write_npz(
            self._store.folder / f"{stage}.npz",
            frame=progress.state.frame.cpu().numpy(),
            rotation=progress.state.rotation.cpu().numpy(),
            shared=progress.state.shared.cpu().numpy(),
            numbers=np.array([progress.damping, progress.cost]),
            counts=np.array([progress.iteration, progress.finished]),
        )

    def load(self, stage: str) -> SolveProgress | None:
        """The saved state of the solve `stage`, or None; a damaged file is removed."""
        if self._store is None or not (self._store.folder / f"{stage}.npz").exists():
            return None
        path = self._store.folder / f"{stage}.npz"
        try:
            kept = read_npz(path, ("frame", "rotation", "shared", "numbers", "counts"))
        except DamagedFile as error:
            log.warning("%s: solving %s from its start", error, stage)
            path.unlink(missing_ok=True)
            return None

        def tensor(name: str) -> Tensor:
            return torch.as_tensor(kept[name], device=self.device)

        state = State(tensor("frame"), tensor("rotation"), tensor("shared"))
        damping, cost = kept["numbers"].tolist()
        iteration, finished = kept["counts"].tolist()
        return SolveProgress(state, damping, iteration, cost, bool(finished))
