"""Choice of the torch device for training and inference, and the message for GPU out of memory."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from headsplat.runtime.errors import UserError
from headsplat.runtime.gpu import claim_if_shared


def choose_device(name: str) -> torch.device:
    """The torch device of an option: `cpu`, `cuda`, or `auto` for the first GPU, else the CPU.

    In a stage that shares the machine's GPUs, this is where it claims one; `cpu` claims none.

    For stages that use the compiled operators, `raster.extension.serving_device` also checks that
    they support the GPU.

    Raises:
        UserError: `cuda` without a visible GPU.
    """
    if name != "cpu":
        claim_if_shared()
    if name == "cuda" and not torch.cuda.is_available():
        why = "no GPU is visible"
        if torch.version.cuda is None:
            why += f" to PyTorch {torch.__version__}, which is a CPU build: install a CUDA build"
        raise UserError(f"--device cuda: {why}; or use --device cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


@contextmanager
def fast_products(device: torch.device) -> Iterator[None]:
    """Products of float32 matrices in TF32 (10 bits of mantissa) while the block runs on a GPU."""
    before = torch.get_float32_matmul_precision()
    try:
        if device.type == "cuda":
            torch.set_float32_matmul_precision("high")
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def shared_gpu(turn: int) -> tuple[torch.device, int]:
    """Torch device, and GPU number for ONNX Runtime, of inference job number `turn`.

    Inference needs about a gigabyte of GPU memory for some seconds. So jobs are distributed over
    the GPUs round-robin without a claim, unlike training (`headsplat.runtime.gpu`).
    """
    count = torch.cuda.device_count()
    if count == 0:
        return torch.device("cpu"), 0
    return torch.device("cuda", turn % count), turn % count


def memory_advice(error: torch.OutOfMemoryError, estimate_mib: float, setting: str) -> UserError:
    """The `UserError` for a GPU that ran out of memory.

    Args:
        error: PyTorch's exception; its numbers of total and free memory are repeated.
        estimate_mib: estimated memory of the work, MiB.
        setting: options to lower, as the user writes them: "train.batch or crop.size".
    """
    found = re.search(r"capacity of ([\d.]+ \w+) of which ([\d.]+ \w+) is free", str(error))
    state = f", and {found[2]} of its {found[1]} are free" if found else ""
    return UserError(
        f"the GPU is out of memory: about {estimate_mib:.0f} MiB are needed{state}; "
        f"lower {setting}, or end what else uses the GPU"
    )
