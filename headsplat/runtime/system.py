"""Facts and calls that differ between Linux and macOS, with a fallback for each.

Linux offers more than POSIX: `/proc`, prctl, anonymous shared files, processor masks. Elsewhere
`ps` lists the processes, a thread looks for the parent, and a deleted temporary file is shared.
Windows itself is not supported, because it has neither POSIX signals nor file locks; WSL2 is Linux.
"""

import os
import resource
import signal
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
_PR_SET_PDEATHSIG = 1
_TICKS = os.sysconf("SC_CLK_TCK")
_POLL = 1.0  # seconds between looks for the parent
_PATIENCE = 10  # seconds for `ps`


class ProcessStat(NamedTuple):
    """State of a process.

    Attributes:
        state: one letter, see ps(1): R runs, S sleeps, T is stopped, Z has ended.
        parent: process id of the parent.
        seconds: CPU time of the process and, on Linux, of its reaped children.
    """

    state: str
    parent: int
    seconds: float


def processes() -> dict[int, ProcessStat]:
    """All processes by their id; empty where they cannot be listed."""
    if (PROC / "self").exists():
        ids = [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]
        return {pid: found for pid in ids if (found := process(pid)) is not None}
    return _listed("-A")


def process(number: int | str) -> ProcessStat | None:
    """One process; None if it does not exist."""
    try:
        # The program name in parentheses may itself contain spaces and parentheses.
        fields = (PROC / str(number) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        if (PROC / "self").exists():
            return None
        return _listed("-p", str(number)).get(int(number))
    return ProcessStat(fields[0], int(fields[1]), sum(map(int, fields[11:15])) / _TICKS)


def _listed(*which: str) -> dict[int, ProcessStat]:
    """Processes as POSIX's `ps` lists them."""
    import subprocess  # imported here to keep the watchdog process, which uses this module, small

    columns = [word for name in ("pid", "ppid", "stat", "time") for word in ("-o", f"{name}=")]
    try:
        said = subprocess.run(
            ["ps", *which, *columns], capture_output=True, text=True, timeout=_PATIENCE
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return {}
    found = {}
    for line in said.splitlines():
        words = line.split()
        if len(words) == 4 and words[0].isdigit() and words[1].isdigit():
            found[int(words[0])] = ProcessStat(words[2][0], int(words[1]), _seconds(words[3]))
    return found


def _seconds(clock: str) -> float:
    """Seconds of "[[days-]hours:]minutes:seconds[.hundredths]"."""
    days, _, clock = clock.rpartition("-")
    total = 0.0
    for part in clock.split(":"):
        total = 60 * total + float(part)
    return total + 86400 * float(days or 0)


def is_alive(number: int | str) -> bool:
    """Whether a process exists and has not ended."""
    found = process(number)
    if found is not None:
        return found.state not in "ZX"
    if (PROC / "self").exists():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def kill_with_parent() -> None:
    """Have this process killed when its parent ends; macOS has no such call, so a thread looks."""
    parent = os.getppid()
    if not _ask_kernel_to_kill():
        threading.Thread(target=_end_without, args=(parent,), daemon=True, name="parent").start()


def _ask_kernel_to_kill() -> bool:
    import ctypes  # as above

    try:
        call = ctypes.CDLL(None, use_errno=True).prctl
    except AttributeError:
        return False
    return call(_PR_SET_PDEATHSIG, signal.SIGKILL) == 0


def _end_without(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL)
    os.kill(os.getpid(), signal.SIGKILL)


def shared_file(name: str) -> int:
    """File descriptor of an empty file in memory, else of a deleted one, for child processes.

    Raises:
        OSError: no memory, no room or no file descriptor is left.
    """
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name)
    import tempfile  # as above

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def pipe(blocking: bool) -> tuple[int, int]:
    """A pipe's reading and writing end, which child processes do not inherit."""
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, blocking)
    return ends


def usable_cores() -> int:
    """Number of cores that this process may use; all, where a process cannot be bound to some."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def machine_memory_mib() -> int:
    """Memory of the machine, MiB."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20


def peak_memory_mib() -> int:
    """Most memory that this process has had, MiB."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit >> 20
