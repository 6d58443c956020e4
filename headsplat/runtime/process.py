"""Process lifetime: end with the parent, end child processes, read `/proc`, count CPU threads."""

import os
import signal
import sys
from pathlib import Path
from typing import NamedTuple

_PR_SET_PDEATHSIG = 1
# Environment variable that holds the workflow's process id.
PARENT_VARIABLE = "HEADSPLAT_DIE_WITH_PARENT"
STOPPED = "T"  # state after SIGSTOP or a terminal stop; a debugger's stop is "t"
_TICKS = os.sysconf("SC_CLK_TCK")

# Process ids that `end_children` does not kill: the watchdog must outlive this process.
exempt_children: set[int] = set()


class ProcessStat(NamedTuple):
    """Fields of `/proc/<pid>/stat`.

    Attributes:
        state: one letter, see proc(5).
        parent: process id of the parent.
        seconds: CPU time of the process and of its reaped children.
    """

    state: str
    parent: int
    seconds: float


def process_stat(process: int | str) -> ProcessStat | None:
    """Read `/proc/<process>/stat`; None if the process does not exist."""
    try:
        # The program name in parentheses may itself contain spaces and parentheses.
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return ProcessStat(fields[0], int(fields[1]), sum(map(int, fields[11:15])) / _TICKS)


def die_with_parent() -> None:
    """Ask Linux to SIGKILL this process when its parent dies.

    Otherwise a stage survives a SIGKILL of Snakemake and writes the same files as the resumed run.
    Only the workflow sets the variable, so a script started by hand outlives its shell.
    """
    import ctypes  # imported here to keep the watchdog process, which uses this module, small

    workflow = os.environ.get(PARENT_VARIABLE)
    if workflow is None:
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # The parent may have died before the call above. Orphans get different parents on different
    # systems, so the parent's id alone does not tell.
    if str(os.getppid()) != workflow and not _is_alive(workflow):
        os._exit(1)


def _is_alive(process: str) -> bool:
    """Whether a process exists and is not a zombie."""
    stat = process_stat(process)
    return stat is not None and stat.state not in "ZX"


def stop_workflow(stage: int) -> None:
    """Send SIGTERM to the workflow that started a stage; does nothing for a stage run by hand.

    A stage that got a stop signal has not failed, so the workflow must stop and not retry it.
    """
    stat = process_stat(stage)
    if stat is not None and os.environ.get(PARENT_VARIABLE) == str(stat.parent):
        send_signal(signal.SIGTERM, [stat.parent])


def descendants(root: int) -> list[int]:
    """Process ids of all descendants of `root`, parents before their children."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := process_stat(entry.name)) is not None:
            children.setdefault(stat.parent, []).append(int(entry.name))
    found = list(children.get(root, []))
    for process in found:
        found.extend(children.get(process, []))
    return found


def send_signal(number: signal.Signals, processes: list[int]) -> None:
    """Send a signal to processes; those that no longer exist are skipped."""
    for process in processes:
        try:
            os.kill(process, number)
        except ProcessLookupError:
            continue


def end_children() -> None:
    """Kill all descendants of this process but `exempt_children`."""
    children = [child for child in descendants(os.getpid()) if child not in exempt_children]
    send_signal(signal.SIGKILL, children)


def exit_now(status: int) -> None:
    """Kill all children and exit at once, without waiting for threads."""
    end_children()
    sys.stdout.flush()
    sys.stderr.flush()
    # sys.exit would wait for busy threads.
    os._exit(status)


def prepare_stages() -> None:
    """Set the environment variables that the workflow's jobs inherit.

    Jobs use the Python that runs Snakemake, unless a conda environment is activated later. They
    end when the workflow's process ends.
    """
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    os.environ[PARENT_VARIABLE] = str(os.getpid())


def available_threads() -> int:
    """Number of CPU threads this process may use: OMP_NUM_THREADS, else the affinity mask."""
    limit = os.environ.get("OMP_NUM_THREADS", "")
    if limit.isdigit() and int(limit) > 0:
        return int(limit)
    return len(os.sched_getaffinity(0))
