"""Where tensors live: the claimed card, or the CPU."""

import torch

from headsplat.errors import UserError


def choose_device(name: str) -> torch.device:
    """`auto` is the first visible card, else the CPU.

    Raises:
        UserError: `cuda` was asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: no graphics card is visible; use --device cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
