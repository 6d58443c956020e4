"""Loading of weight files into modules: plain tensors only, every key and every shape."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from headsplat.runtime.errors import UserError, shown
from headsplat.runtime.pickles.nodes import PickleError
from headsplat.runtime.pickles.torch_files import read_torch


def read_state(path: Path | str) -> dict[str, Tensor]:
    """A flat state dict, of any torch version; nothing that the file names is run.

    Raises:
        UserError: the file cannot be read, or holds anything but tensors by name.
    """
    try:
        state = read_torch(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except PickleError as error:
        raise UserError(f"{path}: not a file of plain weights ({error}); download it again") from (
            error
        )
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(f"{path}: holds no flat table of tensors; give the original weight file")
    return {str(key): value.detach() for key, value in state.items()}


def load_strict(module: nn.Module, state: Mapping[str, Tensor], path: Path | str) -> None:
    """Give `module`, which may be on the meta device, the tensors of `state`.

    Keys and shapes must be exactly the module's.

    Raises:
        UserError: names the file and the first key that is missing, unexpected or of another
            shape.
    """
    wanted = module.state_dict()
    for key, tensor in wanted.items():
        if key not in state:
            raise UserError(f"{path}: the key '{key}' is missing; give the original weight file")
        if state[key].shape != tensor.shape:
            raise UserError(
                f"{path}: '{key}' has shape {list(state[key].shape)}, not {list(tensor.shape)}; "
                "give the original weight file"
            )
        if not torch.isfinite(state[key]).all():
            raise UserError(f"{path}: '{key}' holds NaN or infinity; download the file again")
    unexpected = [key for key in state if key not in wanted]
    if unexpected:
        raise UserError(
            f"{path}: the key '{shown(unexpected[0])}' is not one of this network's; "
            "give the original weight file"
        )
    plain = {key: state[key].to(tensor.dtype) for key, tensor in wanted.items()}
    module.load_state_dict(plain, strict=True, assign=True)
