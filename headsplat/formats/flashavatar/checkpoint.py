"""FlashAvatar's `chkpntN.pth` (deform, gauss, iteration): reader and writer.

`deform` holds the network and its Adam state, `gauss` the Gaussians and their Adam state
(`headsplat.formats.flashavatar.checkpoint_layout`). Gaussians are the UV texels whose triangle has
no boundary vertex; a file shows only their number. Both torch archive formats are read: zip, and
the one before torch 1.6.
"""

import pickle
import types
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from headsplat.formats.flashavatar.checkpoint_layout import GAUSS, GROUPS, MOMENTS, check_layout
from headsplat.gaussians.deform.flashavatar import ENCODED, FlashAvatarDeformation
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import publish
from headsplat.runtime.pickles.placeholders import PickleError, RefusedError
from headsplat.runtime.pickles.torch_files import read_torch

# Our parameter names -> the original's.
_PARAMETERS = {
    "features_dc": "_features_dc", "features_rest": "_features_rest",
    "scaling_base": "_scaling_base", "rotation_base": "_rotation_base", "opacity": "_opacity",
}  # fmt: skip
# Mark in the network's metadata: trained with the real principal point. The original assumes the
# image center, ignores the mark and does not write it.
_MARK = "principal_point"
# An Adam group as in torch 1.12; later versions add missing keys.
_GROUP = {"weight_decay": 0, "amsgrad": False, "maximize": False, "foreach": None,
          "capturable": False}  # fmt: skip


@dataclass(frozen=True)
class Checkpoint:
    """Content of a checkpoint file, on the CPU.

    Attributes:
        network: state dict of the network.
        network_adam: state dict of its optimizer.
        gauss: the twelve entries of `gauss` by the names in `flashavatar_layout.GAUSS`.
        iteration: training images seen.
    """

    network: OrderedDict[str, Tensor]
    network_adam: dict[str, Any]
    gauss: dict[str, Any]
    iteration: int

    @property
    def count(self) -> int:
        """N, the number of Gaussians."""
        return len(self.gauss["_features_dc"])

    @property
    def condition_size(self) -> int:
        """C, numbers in a frame's code."""
        return self.network["fcs.0.weight"].shape[1] - ENCODED

    @property
    def centered(self) -> bool:
        """Whether it was trained with the principal point in the middle of the image."""
        return _MARK not in getattr(self.network, "_metadata", {}).get("", {})


def read_checkpoint(path: Path | str) -> Checkpoint:
    """Read and check a file; no code from it is run.

    Raises:
        UserError: the file cannot be read, names unexpected globals, or an entry has another
            layout; the message names file and entry.
    """
    path = Path(path)
    value = _content(path)
    check_layout(path, value)
    (network, network_adam), gauss, iteration = value
    return Checkpoint(network, network_adam, dict(zip(GAUSS, gauss, strict=True)), iteration)


def _content(path: Path) -> Any:
    try:
        return read_torch(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except RefusedError as error:
        raise UserError(
            f"{path}: refused, it names {error.named}, which no checkpoint of FlashAvatar does"
        ) from error
    except PickleError as error:
        raise UserError(
            f"{path}: not a whole file of torch.save ({error}); copy it again"
        ) from error


def write_checkpoint(folder: Path | str, checkpoint: Checkpoint) -> Path:
    """Write `chkpnt<iteration>.pth`, which the original's `restore` takes; returns its path."""
    path = Path(folder) / f"chkpnt{checkpoint.iteration}.pth"
    value = (
        (checkpoint.network, checkpoint.network_adam),
        tuple(checkpoint.gauss[name] for name in GAUSS),
        checkpoint.iteration,
    )
    # An open file, because PyTorch writes the name of a path into the archive.
    with publish(path) as temporary, open(temporary, "wb") as handle:
        torch.save(value, handle, pickle_module=_module)
    return path


class _Pickler(pickle._Pickler):  # the Python one: the C pickler's `save_pers` is not open
    """Pickler that stores tensors with location cuda:0, as the original does.

    The original loads without `map_location` and needs tensors on the GPU. Adam's step counts are
    scalar tensors on the CPU.
    """

    def save_pers(self, pid: tuple[str, Any, str, str, int]) -> None:
        kind, storage, key, _, numbers = pid
        super().save_pers((kind, storage, key, "cpu" if numbers == 1 else "cuda:0", numbers))


_module = types.SimpleNamespace(Pickler=_Pickler, __name__=__name__, dumps=pickle.dumps)


def make_checkpoint(
    model: FlashAvatarDeformation,
    positions: Tensor,
    optimizer: dict[str, Any],
    iteration: int,
    centered: bool = False,
) -> Checkpoint:
    """Checkpoint of a model and its optimizer, as captured by the original's classes.

    Args:
        model: trained.
        positions: (N, 3) the Gaussians' centers in some frame, meters.
        optimizer: state dict of one Adam over `model.parameter_groups()`.
        iteration: training images seen, as the published code counts with batch 1.
        centered: whether training took the principal point to be in the middle.
    """
    network = model.mlp.state_dict()
    for key, value in network.items():
        network[key] = _copy(value)
    if not centered:
        network._metadata[""][_MARK] = True
    count = len(model.opacity)
    # Base learning rates of the groups, because the original keeps the loaded rates.
    groups = model.parameter_groups(1)
    gauss = {
        "active_sh_degree": model.active_degree,
        "_xyz": _copy(positions).requires_grad_(True),
        **{name: nn.Parameter(_copy(getattr(model, ours))) for ours, name in _PARAMETERS.items()},
        "max_radii2D": torch.zeros(count),
        "xyz_gradient_accum": torch.zeros(count, 1),
        "denom": torch.zeros(count, 1),
        "optimizer": _adam_over(groups[1:], optimizer["state"], len(network)),
        "spatial_lr_scale": 0,
    }
    network_adam = _adam_over(groups[:1], optimizer["state"], 0)
    return Checkpoint(network, network_adam, gauss, iteration)


def save_checkpoint(
    folder: Path | str,
    model: FlashAvatarDeformation,
    positions: Tensor,
    optimizer: dict[str, Any],
    iteration: int,
    centered: bool = False,
) -> Path:
    """Write `chkpnt<iteration>.pth` of a model; arguments as in `make_checkpoint`."""
    checkpoint = make_checkpoint(model, positions, optimizer, iteration, centered)
    return write_checkpoint(folder, checkpoint)


def _copy(value: Tensor) -> Tensor:
    """Copy to the CPU in its own storage, because torch.save writes whole storages."""
    return value.detach().to("cpu", copy=True).contiguous()


def _adam_over(
    groups: list[dict[str, Any]], state: dict[int, dict[str, Tensor]], first: int
) -> dict[str, Any]:
    """State dict of an Adam over some of the groups, with parameters numbered from 0.

    Args:
        groups: as `parameter_groups` gives them.
        state: of an Adam over all groups.
        first: number that the first parameter of `groups` has there.
    """
    written, packed = {}, []
    for group in groups:
        numbers = list(range(len(written), len(written) + len(group["params"])))
        for number in numbers:
            entry = state[first + number]
            written[number] = {moment: _copy(entry[moment]) for moment in MOMENTS}
        # The published network optimizer has one unnamed group.
        name = {"name": group["name"]} if group["name"] in GROUPS else {}
        rates = {"lr": group["lr"], **name, "betas": (0.9, 0.999), "eps": group["eps"]}
        packed.append({**rates, **_GROUP, "params": numbers})
    return {"state": written, "param_groups": packed}


@torch.no_grad()
def load_parameters(model: FlashAvatarDeformation, checkpoint: Checkpoint) -> None:
    """Copy a checkpoint of matching shapes into a model; anchor points are unchanged."""
    model.mlp.load_state_dict(checkpoint.network)
    for ours, name in _PARAMETERS.items():
        getattr(model, ours).copy_(checkpoint.gauss[name])
    model.active_degree = checkpoint.gauss["active_sh_degree"]


def adam_state(checkpoint: Checkpoint, groups: list[dict[str, Any]]) -> dict[str, Any]:
    """The state dict of one Adam over `parameter_groups()` with a checkpoint's moments.

    Args:
        checkpoint: source of moments and step counts.
        groups: `param_groups` of that Adam's own state dict, which stay as they are.
    """
    entries = [
        adam["state"][number]
        for adam in (checkpoint.network_adam, checkpoint.gauss["optimizer"])
        for number in range(len(adam["state"]))
    ]
    state = [
        {moment: torch.as_tensor(entry[moment], dtype=torch.float32).clone() for moment in MOMENTS}
        for entry in entries
    ]
    return {"state": dict(enumerate(state)), "param_groups": groups}
