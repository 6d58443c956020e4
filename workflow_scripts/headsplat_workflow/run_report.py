"""Report a run on the console: its size, a line per stage, progress, and the closing summary."""

import os
import sys
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

from snakemake.logging import logger
from snakemake.settings.enums import Quietness

from headsplat_workflow.console import Console, log
from headsplat_workflow.progress import ProgressThread
from headsplat_workflow.run_jobs import read_plan
from headsplat_workflow.stage_lines import StageLines, took
from headsplat_workflow.summary import DONE, FAILED, jobs_of, summary


class RunReport:
    """Reports one run.

    Args:
        workflow: Snakemake's `Workflow`, after planning.
        console: the installed `Console`, if any.
        frames_of: subject -> frames of its clip; None for jobs that all subjects share.
    """

    def __init__(
        self, workflow: Any, console: Console | None, frames_of: Callable[[str | None], float]
    ) -> None:
        self._workflow, self._console = workflow, console
        self._start = time.monotonic()
        self._plan = read_plan(workflow)
        self._lines = StageLines(self._plan, frames_of)
        quiet = workflow.output_settings.quiet or ()
        self._silent = Quietness.ALL in quiet
        live = None if self._silent or Quietness.PROGRESS in quiet else console
        self._progress = ProgressThread(self._plan, live, self._lines.margin)

    def begin(self, log_files: Sequence[str]) -> None:
        """Print the first line and start following the run.

        Args:
            log_files: Snakemake's log files.
        """
        self._lines.begin(os.path.relpath(log_files[0]) if log_files else None)
        if self._console:
            self._console.reporting = True
        logger.addHandler(self._lines)
        self._progress.start()

    def end(self, stopped: bool, ended_since: Collection[Any]) -> None:
        """Print the summary, after all jobs have ended.

        Args:
            stopped: whether the run was asked to stop.
            ended_since: Snakemake's failed jobs that ended after that request.
        """
        self._progress.finish()
        logger.removeHandler(self._lines)
        failed = self._workflow.scheduler.failed
        reasons = self._lines.reasons
        jobs = jobs_of(self._plan, self._workflow.dag, failed, ended_since, reasons)
        done = sum(job.state == DONE for job in jobs)
        spent = took(time.monotonic() - self._start)
        text = f"{done} of {len(jobs)} jobs done in {spent}\n{summary(jobs, stopped)}".rstrip()
        if self._silent and any(job.state == FAILED for job in jobs):
            print(
                text, file=sys.stderr, flush=True
            )  # with `--quiet all`, Snakemake's handlers drop errors too
        else:
            log.info(f"\n{text}")
