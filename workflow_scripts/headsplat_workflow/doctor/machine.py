"""Cores, memory, shared memory: what this process may use of the machine."""

import os
from collections.abc import Iterator
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

from headsplat_workflow.resources import NEEDS, machine_memory_mb, memory_mb

from headsplat.doctor.finding import Finding, fails, ok, warning
from headsplat.runtime.control_group import memory_limit_mib

# Below this not even a job without frames gets through.
_LEAST_MB = memory_mb("", 0)
_SHARED_BYTES = 1 << 24


def check_machine(frames: float, proc: Path = Path("/proc/self")) -> Iterator[Finding]:
    """Cores, memory against what the rules ask for, and shared memory.

    Args:
        frames: of the longest clip.
        proc: where the process's control groups are read.
    """
    yield _cores()
    yield _memory(frames, proc)
    yield _shared_memory()


def _cores() -> Finding:
    usable, present = len(os.sched_getaffinity(0)), os.cpu_count() or 1
    says = f"{usable} usable" + (f" of {present}" if usable < present else "")
    if usable == 1:
        return warning("cores", says, "give the job two or more: stages wait for each other")
    return ok("cores", says)


def _memory(frames: float, proc: Path) -> Finding:
    limit = memory_limit_mib(proc)
    total = machine_memory_mb(limit)
    by = "" if limit is None else f" (control group: {limit} MiB)"
    stage = max(NEEDS, key=lambda name: memory_mb(name, frames))
    need = memory_mb(stage, frames)
    says = f"{total} MB for jobs{by}; the largest, {stage}, asks for {need} MB"
    if total < _LEAST_MB:
        return fails("memory", says, f"rent or request at least {2 * _LEAST_MB} MB")
    if total < need:
        return warning("memory", says, "shorten the clip, or rent or request more memory")
    return ok("memory", says)


def _shared_memory() -> Finding:
    try:
        memory = SharedMemory(create=True, size=_SHARED_BYTES)
        memory.buf[_SHARED_BYTES - 1] = 1
        memory.close()
        memory.unlink()
    except (OSError, ValueError) as error:
        cure = "start the container with --shm-size=1g"
        return warning("shared memory", f"cannot be used ({error})", cure)
    size = os.statvfs("/dev/shm")
    return ok("shared memory", f"works; {size.f_bavail * size.f_frsize >> 20} MiB free")
