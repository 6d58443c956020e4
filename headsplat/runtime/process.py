"""Process hygiene of a stage: it dies with its workflow, and what it started dies with it."""

import os
import signal
import sys
from pathlib import Path
from typing import NamedTuple

_PR_SET_PDEATHSIG = 1
# Holds the workflow's process id.
PARENT_VARIABLE = "HEADSPLAT_DIE_WITH_PARENT"
STOPPED = "T"  # by SIGSTOP or the terminal; a debugger's is "t"
_TICKS = os.sysconf("SC_CLK_TCK")

# Children that `end_children` leaves alone: they are there until this process has ended.
spared: set[int] = set()


class Seen(NamedTuple):
    """A process in `/proc`.

    Attributes:
        state: one letter, see proc(5).
        parent: its parent's id.
        seconds: CPU time that it and its ended children took.
    """

    state: str
    parent: int
    seconds: float


def look(process: int | str) -> Seen | None:
    """What the kernel says of a process; None where it is gone."""
    try:
        # The name in parentheses may hold spaces and parentheses.
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return Seen(fields[0], int(fields[1]), sum(map(int, fields[11:15])) / _TICKS)


def die_with_parent() -> None:
    """Ask Linux to SIGKILL this process when its parent dies.

    Without it a stage survives a SIGKILL of Snakemake and races the resumed run for the same
    files. Only the workflow sets the variable: a script started by hand outlives its shell.
    """
    import ctypes  # the watchdog, which is to be small, does without

    workflow = os.environ.get(PARENT_VARIABLE)
    if workflow is None:
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # It may have died before the call above took effect; who adopts orphans differs by machine.
    if str(os.getppid()) != workflow and not _lives(workflow):
        os._exit(1)


def _lives(process: str) -> bool:
    """Whether a process is there, and not merely unreaped."""
    seen = look(process)
    return seen is not None and seen.state not in "ZX"


def tell_workflow(stage: int) -> None:
    """Ask the workflow that started a stage to stop as well; by hand there is none.

    A stage that was told to stop did not fail: its run is over, whoever the signal was sent to.
    """
    seen = look(stage)
    if seen is not None and os.environ.get(PARENT_VARIABLE) == str(seen.parent):
        send(signal.SIGTERM, [seen.parent])


def descendants(root: int) -> list[int]:
    """Ids of all processes below `root`, parents before their children."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (seen := look(entry.name)) is not None:
            children.setdefault(seen.parent, []).append(int(entry.name))
    found = list(children.get(root, []))
    for process in found:
        found.extend(children.get(process, []))
    return found


def send(number: signal.Signals, processes: list[int]) -> None:
    """Send a signal to processes, some of which may be gone."""
    for process in processes:
        try:
            os.kill(process, number)
        except ProcessLookupError:
            continue


def end_children() -> None:
    """Kill what this process started, and what that started, as compilers do."""
    send(signal.SIGKILL, [child for child in descendants(os.getpid()) if child not in spared])


def end(status: int) -> None:
    """End this process now, and what it started."""
    end_children()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit, which would wait for threads that are busy.
    os._exit(status)


def prepare_stages() -> None:
    """Set the environment that the workflow's jobs inherit.

    Jobs run with the Python that runs Snakemake, unless a conda environment is activated later.
    They end when the workflow's process ends.
    """
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    os.environ[PARENT_VARIABLE] = str(os.getpid())


def available_threads() -> int:
    """CPU threads this process may use: Snakemake's OMP_NUM_THREADS, else the affinity mask."""
    limit = os.environ.get("OMP_NUM_THREADS", "")
    if limit.isdigit() and int(limit) > 0:
        return int(limit)
    return len(os.sched_getaffinity(0))
