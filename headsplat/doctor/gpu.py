"""Check the GPU: driver, memory, and whether PyTorch computes on it."""

import re
import subprocess
from collections.abc import Iterator

import torch

from headsplat.doctor.finding import Finding, ok, warning
from headsplat.doctor.software import check_nvcc
from headsplat.gaussians.raster import extension
from headsplat.runtime.errors import UserError

_LEAST_MIB = 4000  # free memory of a GPU that the standard preset trains in
_PAGE = "https://pytorch.org/get-started/previous-versions/"


def check_gpus() -> Iterator[Finding]:
    """Driver and GPUs as reported by the driver, then by PyTorch."""
    driver, supported = driver_versions()
    if driver is None:
        yield ok("GPU", "no driver; everything is computed on the CPU")
        return
    built = torch.version.cuda
    yield ok("driver", f"{driver}, for CUDA up to {supported}; PyTorch {torch.__version__}")
    if built is None:
        fix = f"install a PyTorch for CUDA up to {supported} ({_PAGE})"
        yield warning("GPU", "PyTorch is not for CUDA, so the CPU computes", fix)
        return
    if not torch.cuda.is_available():
        fix = f"update the driver, or install a PyTorch for CUDA up to {supported} ({_PAGE})"
        if _number(built)[0] <= _number(supported)[0]:
            fix = "look at CUDA_VISIBLE_DEVICES and at nvidia-smi"
        yield warning("GPU", f"PyTorch for CUDA {built} sees none", fix)
        return
    for number in range(torch.cuda.device_count()):
        yield _gpu(number)
    try:
        yield from check_nvcc(extension.plan().nvcc, built)
    except UserError:  # no C++ compiler, which has a row of its own
        return


def driver_versions() -> tuple[str | None, str]:
    """The driver's version and the newest CUDA it serves; None and "" without a driver."""
    try:
        said = subprocess.run(["nvidia-smi"], capture_output=True, text=True, timeout=10).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None, ""
    driver = re.search(r"Driver Version: ([\d.]+)", said)
    cuda = re.search(r"CUDA Version: ([\d.]+)", said)
    return (driver[1], cuda[1] if cuda else "?") if driver else (None, "")


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)) or (0,)


def _gpu(number: int) -> Finding:
    what, name = f"GPU {number}", torch.cuda.get_device_name(number)
    try:
        total = int(torch.arange(1000, device=f"cuda:{number}").sum())
        free, size = (part >> 20 for part in torch.cuda.mem_get_info(number))
    except RuntimeError as error:
        fix = "look at nvidia-smi; a GPU that is broken or in exclusive use cannot be computed on"
        return warning(what, f"{name}: {str(error).splitlines()[0]}", fix)
    says = f"{name}, {free} of {size} MiB free"
    if total != 499500:
        return warning(what, f"{says}: computes wrongly", "take another GPU")
    if free < _LEAST_MIB:
        return warning(what, says, "end what else uses the GPU, or train with fewer Gaussians")
    return ok(what, says)
