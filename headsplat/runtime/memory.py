"""Memory that ran out, as one line that says what to do."""

import errno
import re
import resource

from headsplat.runtime.control_group import memory_limit_mib
from headsplat.runtime.errors import UserError

# PyTorch, OpenCV, ONNX Runtime and the system say it in errors of their own kinds.
_SAID = re.compile(
    r"DefaultCPUAllocator|std::bad_alloc|bad allocation|[Cc]annot allocate memory|"
    r"can't allocate memory|Failed to allocate \d+ bytes|Insufficient memory|"
    r"can't start new thread|failed to map segment from shared object"
)
_GPU = re.compile(r"CUDA (error: )?out of memory(\. Tried to allocate [\d.]+ \w+)?")


def memory_error(error: BaseException) -> UserError | None:
    """The line to end in when memory ran out; None if `error` has another cause.

    Training, which knows what it needs of a GPU, has a better line for that:
    `headsplat.runtime.device.memory_advice`.

    Args:
        error: what was raised; its causes and contexts are looked at too.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, Exception) and (found := _GPU.search(str(seen))):
            return UserError(
                f"the GPU is out of memory ({found[0]}); end what else uses it, or take a larger "
                "one (nvidia-smi shows both)"
            )
        if _is_about_memory(seen):
            return UserError(_line())
        seen = seen.__cause__ or seen.__context__
    return None


def _is_about_memory(error: BaseException) -> bool:
    if isinstance(error, UserError):
        return False
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    return isinstance(error, Exception) and _SAID.search(str(error)) is not None


def _line() -> str:
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    group, addresses = memory_limit_mib(), resource.getrlimit(resource.RLIMIT_AS)[0]
    limits = "" if group is None else f", its control group allows {group} MiB"
    if addresses != resource.RLIM_INFINITY:
        limits += f", ulimit -v {addresses >> 20} MiB of addresses"
    return (
        f"the memory ran out: this stage took {most} MiB{limits}; run fewer jobs at once "
        "(--cores 1), or give more memory (--retries 2 asks for more each time)"
    )
