"""Process lifetime: end with the parent, end child processes, count CPU threads."""

import os
import signal
import sys
from pathlib import Path

from headsplat.runtime import system

# Environment variable that holds the workflow's process id.
PARENT_VARIABLE = "HEADSPLAT_DIE_WITH_PARENT"

# Process ids that `end_children` does not kill: the watchdog must outlive this process.
exempt_children: set[int] = set()


def die_with_parent() -> None:
    """Have this process killed when its parent dies.

    Otherwise a stage survives a SIGKILL of Snakemake and writes the same files as the resumed run.
    Only the workflow sets the variable, so a script started by hand outlives its shell.
    """
    workflow = os.environ.get(PARENT_VARIABLE)
    if workflow is None:
        return
    system.kill_with_parent()
    # The parent may have died before the call above. Orphans get different parents on different
    # systems, so the parent's id alone does not tell.
    if str(os.getppid()) != workflow and not system.is_alive(workflow):
        os._exit(1)


def stop_workflow(stage: int) -> None:
    """Send SIGTERM to the workflow that started a stage; does nothing for a stage run by hand.

    A stage that got a stop signal has not failed, so the workflow must stop and not retry it.
    """
    stat = system.process(stage)
    if stat is not None and os.environ.get(PARENT_VARIABLE) == str(stat.parent):
        send_signal(signal.SIGTERM, [stat.parent])


def descendants(root: int) -> list[int]:
    """Process ids of all descendants of `root`, parents before their children."""
    children: dict[int, list[int]] = {}
    for number, stat in system.processes().items():
        children.setdefault(stat.parent, []).append(number)
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
    """Number of CPU threads this process may use: OMP_NUM_THREADS, else its cores."""
    limit = os.environ.get("OMP_NUM_THREADS", "")
    if limit.isdigit() and int(limit) > 0:
        return int(limit)
    return system.usable_cores()
