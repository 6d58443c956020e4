"""Ends a whole run in seconds on SIGTERM, SIGINT or SIGHUP, so that the same command continues.

On SIGTERM Snakemake itself waits until the running jobs are done, which for a training is hours,
and takes a lock in the signal's handler that the interrupted code may hold. On SIGINT it forgets
the jobs that finish while it waits. Here the stages are told, they save and end
(`headsplat.runtime.stopping`), and Snakemake's scheduler is asked, from a thread, to book what
finished and start nothing new.
"""

import atexit
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Collection
from types import FrameType
from typing import Any

from snakemake.logging import logger
from snakemake.scheduling.job_scheduler import JobScheduler
from snakemake_interface_logger_plugins.common import LogEvent

from headsplat.runtime.process import descendants, send
from headsplat.runtime.stopping import PATIENCE, SIGNALS

# Seconds after which a stage that did not end is killed: it should have ended by itself before.
KILL_AFTER = PATIENCE + 1

_asked = threading.Event()
_failed_before = set[Any]()  # jobs that had failed when the run was asked to stop


def stopped() -> bool:
    """Whether this run was asked to stop; jobs that ended since then did not fail."""
    return _asked.is_set()


def ended_since(failed: Collection[Any]) -> set[Any]:
    """Of a run's failed jobs, those that ended after the run was asked to stop."""
    return set(failed) - _failed_before if stopped() else set()


def install(workflow: Any) -> None:
    """Let this process, which runs the workflow's jobs, stop in order.

    Args:
        workflow: Snakemake's object of that name.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        scheduler = getattr(workflow, "scheduler", None)
        if scheduler is None:  # nothing runs yet
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif not _asked.is_set():
            _failed_before.update(scheduler.failed)
            _asked.set()
            atexit.register(print, "stopped; the same command continues", file=sys.stderr)
            logger.addFilter(_no_blame)
            threading.Thread(target=_end, args=(scheduler,), daemon=True).start()
            if not workflow.local_exec:
                # Snakemake's answer to this is to cancel the jobs it handed to the cluster.
                raise KeyboardInterrupt

    # The scheduler installs this method as its handler of SIGTERM.
    JobScheduler.exit_gracefully = lambda scheduler, *arguments: handle(*arguments)
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handle)


def _end(scheduler: JobScheduler) -> None:
    """Stop the scheduler, then the stages: those that run, and those that were just starting."""
    logger.info(f"stopping: running stages save and end, within {KILL_AFTER} s")
    with scheduler._lock:
        scheduler._user_kill = "graceful"
    scheduler._open_jobs.release()
    start = time.monotonic()
    while True:
        late = time.monotonic() - start > KILL_AFTER
        send(signal.SIGKILL if late else signal.SIGTERM, descendants(os.getpid()))
        time.sleep(1)


def _no_blame(record: logging.LogRecord) -> bool:
    """Drops what Snakemake says about jobs that were told to end."""
    blamed = getattr(record, "event", None) in (LogEvent.JOB_ERROR, LogEvent.GROUP_ERROR)
    return not blamed and "CalledProcessError" not in record.getMessage()
