"""Check Python, CPU cores, memory, shared memory and temporary files of this process."""

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

from headsplat.doctor.finding import Finding, fails, ok, warning
from headsplat.runtime.memory import memory_limit_mib
from headsplat.runtime.release import installed_version
from headsplat.runtime.system import machine_memory_mib, usable_cores

_SHARED_BYTES = 1 << 24
_LEAST_TEMPORARY = 1 << 30  # bytes
_LEAST_MIB = 2000  # compiling the operators takes 1,200 at its peak


def check_machine(proc: Path = Path("/proc/self")) -> Iterator[Finding]:
    """Versions, cores, memory, shared memory and the folder of temporary files.

    Args:
        proc: where the process's control groups are read.
    """
    yield _versions()
    yield _cores()
    yield _memory(proc)
    yield _shared_memory()
    yield _temporary_files()


def _versions() -> Finding:
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    return ok("headsplat", f"{installed_version()}; Python {platform.python_version()}; {system}")


def _cores() -> Finding:
    usable, present = usable_cores(), os.cpu_count() or 1
    says = f"{usable} usable" + (f" of {present}" if usable < present else "")
    if usable == 1:
        return warning("cores", says, "use two or more: decoding and drawing wait for each other")
    return ok("cores", says)


def _memory(proc: Path) -> Finding:
    total = machine_memory_mib()
    limit = memory_limit_mib(proc)
    says = f"{total} MiB" + ("" if limit is None else f", limited to {limit} MiB")
    if min(total, limit or total) < _LEAST_MIB:
        return warning("memory", says, f"give {_LEAST_MIB} MiB, to compile the operators")
    return ok("memory", says)


def _shared_memory() -> Finding:
    try:
        memory = SharedMemory(create=True, size=_SHARED_BYTES)
        memory.buf[_SHARED_BYTES - 1] = 1
        memory.close()
        memory.unlink()
    except (OSError, ValueError) as error:
        fix = "start the container with --shm-size=1g"
        return warning("shared memory", f"cannot be used ({error})", fix)
    try:
        size = os.statvfs("/dev/shm")
    except OSError:  # macOS keeps it elsewhere
        return ok("shared memory", "works")
    return ok("shared memory", f"works; {size.f_bavail * size.f_frsize >> 20} MiB free")


def _temporary_files() -> Finding:
    try:
        folder = tempfile.gettempdir()
        free = shutil.disk_usage(folder).free
    except OSError as error:
        fix = "set TMPDIR to a folder that can be written"
        return fails("temporary files", f"no folder for them ({error.strerror})", fix)
    says = f"{folder}: {free / 2**30:.1f} GiB free"
    if free < _LEAST_TEMPORARY:
        fix = "free some space, or set TMPDIR to a folder with more; compilers write there"
        return warning("temporary files", says, fix)
    return ok("temporary files", says)
