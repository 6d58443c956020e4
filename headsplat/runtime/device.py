"""Where tensors live: the claimed GPU, or the CPU."""

import re

import torch

from headsplat.runtime.errors import UserError


def choose_device(name: str) -> torch.device:
    """`auto` is the first visible GPU, else the CPU.

    For stages that call the operators, `raster.extension.serving_device` also asks whether they
    serve the GPU.

    Raises:
        UserError: `cuda` was asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        why = "no GPU is visible"
        if torch.version.cuda is None:
            why += f" to PyTorch {torch.__version__}, which is not for CUDA: install one that is"
        raise UserError(f"--device cuda: {why}; or use --device cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def memory_advice(error: torch.OutOfMemoryError, estimate_mib: float, setting: str) -> UserError:
    """The line to end in when a GPU's memory ran out.

    Args:
        error: what PyTorch raised; what it says of the GPU's size and rest is kept.
        estimate_mib: what the work was expected to take, MiB.
        setting: the settings to lower, as the user writes them: "train.batch or crop.size".
    """
    found = re.search(r"capacity of ([\d.]+ \w+) of which ([\d.]+ \w+) is free", str(error))
    state = f", and {found[2]} of its {found[1]} are free" if found else ""
    return UserError(
        f"the GPU is out of memory: about {estimate_mib:.0f} MiB are needed{state}; "
        f"lower {setting}, or end what else uses the GPU"
    )
