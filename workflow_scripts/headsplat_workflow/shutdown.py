"""Stop a run within seconds on SIGTERM, SIGINT or SIGHUP, so that the same command can resume it.

On SIGTERM, Snakemake itself waits for all running jobs, which takes hours for a training. Its
signal handler also takes a lock that the interrupted code may hold. On SIGINT it does not record
the jobs that finish while it waits.

Instead, the signal is sent to the stages, which save and exit (`headsplat.runtime.stopping`). A
thread asks Snakemake's scheduler to record what finished and to start nothing new.
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

from headsplat_workflow.console import log

from headsplat.runtime.process import descendants, send_signal
from headsplat.runtime.stopping import GRACE_SECONDS, SIGNALS

# Seconds until stages that have not ended are killed.
KILL_AFTER = GRACE_SECONDS + 1

# Takes the scheduler's lock, so it must be called from a thread, not from a signal handler.
_stop_scheduling = JobScheduler.exit_gracefully
_asked = threading.Event()
_failed_before = set[Any]()  # jobs that had failed when the run was asked to stop


def stopped() -> bool:
    """Whether this run was asked to stop."""
    return _asked.is_set()


def ended_since(failed: Collection[Any]) -> set[Any]:
    """Those of a run's failed jobs that ended after it was asked to stop."""
    return set(failed) - _failed_before if stopped() else set()


def install(workflow: Any) -> None:
    """Install the signal handlers in the process that runs the workflow's jobs.

    Args:
        workflow: Snakemake's `Workflow`.
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
            logger.addFilter(_is_not_job_error)
            threading.Thread(target=_end, args=(scheduler,), daemon=True).start()
            if not workflow.local_exec:
                # Snakemake then cancels the jobs that it submitted to the cluster.
                raise KeyboardInterrupt

    # The scheduler installs this method as its handler of SIGTERM.
    JobScheduler.exit_gracefully = lambda scheduler, *arguments: handle(*arguments)
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handle)


def _end(scheduler: JobScheduler) -> None:
    """Stop the scheduler, then signal all stages, including those that are just starting."""
    log.info(f"stopping: running stages save and end, within {KILL_AFTER} s")
    _stop_scheduling(scheduler)
    start = time.monotonic()
    while True:
        late = time.monotonic() - start > KILL_AFTER
        send_signal(signal.SIGKILL if late else signal.SIGTERM, descendants(os.getpid()))
        time.sleep(1)


def _is_not_job_error(record: logging.LogRecord) -> bool:
    """Log filter that drops Snakemake's errors about jobs that were told to stop."""
    blamed = getattr(record, "event", None) in (LogEvent.JOB_ERROR, LogEvent.GROUP_ERROR)
    return not blamed and "CalledProcessError" not in record.getMessage()
