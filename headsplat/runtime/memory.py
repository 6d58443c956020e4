"""Memory limits of a process (cgroup, ulimit), and the message for running out of memory.

`/proc/meminfo` shows the whole machine even inside a container. The kernel enforces the limit of
the control group (cgroup v2: `memory.max`; v1: `memory.limit_in_bytes`) and of every group above.
Formats: the kernel's admin-guide/cgroup-v2 and cgroup-v1/memory, proc(5).
"""

import errno
import mmap
import re
import resource
from collections.abc import Iterator
from pathlib import Path

from headsplat.runtime.errors import UserError
from headsplat.runtime.system import peak_memory_mib

# cgroup v1 writes "no limit" as the largest multiple of a page, which is above this.
_UNLIMITED = 1 << 60
# A limit counts as reached when this share of it is in use.
_FULL_SHARE = 0.9
# Bytes of address space: OpenBLAS retries for ever if it cannot allocate a buffer of this size.
_OPENBLAS_BUFFER = 64 << 20
# Messages of PyTorch, OpenCV, ONNX Runtime and the C library, which raise no `MemoryError`.
_OUT_OF_MEMORY = re.compile(
    r"DefaultCPUAllocator|std::bad_alloc|bad allocation|[Cc]annot allocate memory|"
    r"can't allocate memory|Failed to allocate \d+ bytes|Insufficient memory|"
    r"can't start new thread|failed to map segment from shared object"
)
_GPU_OUT_OF_MEMORY = re.compile(r"CUDA (error: )?out of memory(\. Tried to allocate [\d.]+ \w+)?")


def memory_limit_mib(proc: Path = Path("/proc/self")) -> int | None:
    """The smallest memory limit of a process's control groups in MiB, or None without a limit.

    Args:
        proc: the process's folder in `/proc`, with its `cgroup` and `mountinfo`.
    """
    places = _groups(proc)
    limits = [limit for folder, name in places if (limit := _read(folder / name)) is not None]
    return min(limits) // (1 << 20) if limits else None


def memory_limit_is_reached(proc: Path = Path("/proc/self")) -> bool:
    """Whether a process uses nearly all of its allowed memory or address space.

    Native code then may retry an allocation for ever, where Python would raise `MemoryError`, or
    stall on page reclaim. The page cache is not counted, because the kernel can drop it.

    Args:
        proc: the process's folder in `/proc`.
    """
    return _address_space_is_used(proc) or any(
        used >= _FULL_SHARE * limit for limit, used in _limits_and_use(proc)
    )


def _address_space_is_used(proc: Path) -> bool:
    """Whether the address space limit (`ulimit -v`) leaves no room for one more buffer."""
    try:
        limits = (proc / "limits").read_text()
        pages = int((proc / "statm").read_text().split()[0])
    except OSError:
        return False
    found = re.search(r"^Max address space +(\d+)", limits, re.MULTILINE)
    return found is not None and int(found[1]) - pages * mmap.PAGESIZE < _OPENBLAS_BUFFER


def _limits_and_use(proc: Path) -> Iterator[tuple[int, int]]:
    """(limit, memory used by processes) in bytes, for each control group with a limit."""
    for folder, name in _groups(proc):
        limit = _read(folder / name)
        if limit is None:
            continue
        try:
            state = (folder / "memory.stat").read_text()
        except OSError:
            continue
        # `anon` is cgroup v2's key; `total_rss` is v1's, for the group and its descendants.
        found = re.search(r"^(?:anon|total_rss) (\d+)", state, re.MULTILINE)
        if found is not None:
            yield limit, int(found[1])


def _groups(proc: Path) -> list[tuple[Path, str]]:
    """(folder, name of the limit file) for all control groups of a process."""
    try:
        groups = (proc / "cgroup").read_text().splitlines()
        mounts = (proc / "mountinfo").read_text().splitlines()
    except OSError:  # not Linux, or /proc is hidden
        return []
    return [place for line in groups for place in _folders(line, mounts)]


def _folders(group: str, mounts: list[str]) -> Iterator[tuple[Path, str]]:
    """(folder, name of the limit file) from a process's group up to its mount point."""
    _, controllers, path = group.split(":", 2)
    if not controllers:
        kind, option, name = "cgroup2", "", "memory.max"
    elif "memory" in controllers.split(","):
        kind, option, name = "cgroup", "memory", "memory.limit_in_bytes"
    else:
        return
    for mount in mounts:
        # "36 35 98:0 /root /mount/point rw,... optional - type source options"
        before, _, after = mount.partition(" - ")
        root, point = before.split()[3:5]
        fields = after.split()
        if fields[0] != kind or (option and option not in fields[-1].split(",")):
            continue
        # Inside a container the mount often shows the group's own folder as its root.
        inside = Path(path).relative_to(root) if Path(path).is_relative_to(root) else Path()
        top = Path(point.replace("\\040", " "))
        folder = top / str(inside).lstrip("/")
        while True:
            yield folder, name
            if folder == top:
                break
            folder = folder.parent


def _read(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:  # the container does not see the group, or it is the root without a limit
        return None
    return int(text) if text.isdigit() and int(text) < _UNLIMITED else None


def memory_error(error: BaseException) -> UserError | None:
    """A `UserError` for an out-of-memory exception; None if `error` has another cause.

    Training reports its own GPU memory estimate: `headsplat.runtime.device.memory_advice`.

    Args:
        error: the exception; its causes and contexts are searched too.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, Exception) and (found := _GPU_OUT_OF_MEMORY.search(str(seen))):
            return UserError(
                f"the GPU is out of memory ({found[0]}); end what else uses it, or take a larger "
                "one (nvidia-smi shows both)"
            )
        if _is_out_of_memory(seen):
            return UserError(_out_of_memory_message())
        seen = seen.__cause__ or seen.__context__
    return None


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, UserError):
        return False
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    return isinstance(error, Exception) and _OUT_OF_MEMORY.search(str(error)) is not None


def _out_of_memory_message() -> str:
    most = peak_memory_mib()
    group, addresses = memory_limit_mib(), resource.getrlimit(resource.RLIMIT_AS)[0]
    limits = "" if group is None else f", its control group allows {group} MiB"
    if addresses != resource.RLIM_INFINITY:
        limits += f", ulimit -v {addresses >> 20} MiB of addresses"
    return (
        f"the memory ran out: this stage took {most} MiB{limits}; run fewer jobs at once "
        "(--cores 1), or give more memory (--retries 2 asks for more each time)"
    )
