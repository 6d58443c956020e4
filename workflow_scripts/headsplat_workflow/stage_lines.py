"""Print one line per finished stage and per failed job, from Snakemake's log events."""

import logging
import re
import time
from collections.abc import Callable, Iterable
from typing import Any

from snakemake.settings.enums import Quietness
from snakemake_interface_logger_plugins.common import LogEvent

from headsplat_workflow import job_logs
from headsplat_workflow.console import WIDTH, log
from headsplat_workflow.resources import minutes
from headsplat_workflow.run_jobs import RunJob, RunPlan, Stage, StageKey

from headsplat.runtime.errors import printable, shown

# Marks lines that `--quiet progress` drops.
PROGRESS = {"quietness": Quietness.PROGRESS}
# Largest widths of the stage and subject columns.
_STAGE, _SUBJECT = 24, 24
# Shortest duration, in seconds, for which a rate is printed; `--touch` takes less.
_SHORTEST = 0.1
# Frames of ten minutes. If a stage's time limit is at most twice that of no frames, its duration
# does not depend on the clip's length.
_LONG_CLIP = 15_000
# Snakemake's message for a job that a signal ended.
_DIED = re.compile(r"died with <Signals\.\w+: \d+>\.")
# Text that executors append to their reason.
_FURTHER = "For further error details"


class StageLines(logging.Handler):
    """Log handler that follows a run by Snakemake's events and prints a line per finished stage.

    Args:
        plan: of the run; the handler sets its jobs' start and end times.
        frames_of: subject -> frames of its clip; None for jobs that all subjects share.

    Attributes:
        reasons: id of a failed job -> Snakemake's or the cluster's message about it.
    """

    def __init__(self, plan: RunPlan, frames_of: Callable[[str | None], float]) -> None:
        super().__init__()
        self._plan, self._frames_of = plan, frames_of
        self._finished = 0
        self.reasons = dict[int, str]()
        self._deaths = dict[int | None, str]()
        keys = plan.stages.keys()
        self._columns = (
            2 * len(str(len(keys))) + 1,
            min(max((len(key[0]) for key in keys), default=0), _STAGE),
            min(max((len(" ".join(key[1:])) for key in keys), default=0), _SUBJECT),
        )

    @property
    def margin(self) -> int:
        """Characters before the name of a stage."""
        return self._columns[0] + 2

    def begin(self, log_file: str | None) -> None:
        """Print the number of jobs, and the path of the full log."""
        jobs, done = len(self._plan.jobs), self._plan.done_before
        subjects = {job.subject for job in self._plan.jobs.values()} - {None}
        line = f"{_many(jobs, 'job')} in {_many(len(self._plan.stages), 'stage')}"
        line += f" of {len(subjects)} subjects" if len(subjects) > 1 else ""
        line += f", {_many(done, 'job')} done already" if done else ""
        log.info(f"{line}; full log: {log_file}" if log_file else line, extra=PROGRESS)

    def emit(self, record: logging.LogRecord) -> None:
        """Handle one event."""
        try:
            self._note(record, getattr(record, "event", None), time.monotonic())
        except Exception:  # as in all handlers: logging must not end the run
            self.handleError(record)

    def _note(self, record: Any, event: str | None, now: float) -> None:
        if event == LogEvent.JOB_STARTED:
            for key in record.jobs:
                self._begun(key, now)
        elif event == LogEvent.JOB_INFO:  # a job that starts later than those scheduled with it
            self._begun(record.jobid, now)
        elif event == LogEvent.JOB_FINISHED:
            self._ended(record.job_id, now)
        elif event == LogEvent.ERROR:
            # Belongs to the job that the same thread reports next.
            found = _DIED.search(record.getMessage())
            self._deaths[record.thread] = found[0] if found else ""
        elif event == LogEvent.GROUP_ERROR:
            self._failed([job["jobid"] for job in record.job_error_info], "", now)
        elif event == LogEvent.JOB_ERROR and not record.indent:  # indented: part of a group
            death = self._deaths.pop(record.thread, "")
            self._failed([record.jobid], record.rule_msg or death, now)

    def _begun(self, key: int, now: float) -> None:
        job = self._plan.jobs.get(key)
        if job is None:
            return
        job.begun = now
        if key in self.reasons:
            del self.reasons[key]
            log.warning(self._line("", job.stage, f"{_name(job)}tried again"))

    def _ended(self, key: int, now: float) -> None:
        job = self._plan.jobs.get(key)
        if job is None:
            return
        job.ended = now
        stage = self._plan.stages[job.stage]
        stage.left.discard(key)
        if stage.left:
            return
        self._finished += 1
        seconds = stage.seconds(now)
        rate = None if seconds is None else self._rate(job.stage, stage, seconds)
        spent = "" if seconds is None else took(seconds)
        numbers = f"{f'{rate:,.0f} images/s' if rate else '':>15}  {spent:>11}"
        count = f"{self._finished}/{len(self._plan.stages)}"
        log.info(self._line(count, job.stage, numbers)[:WIDTH], extra=PROGRESS)

    def _failed(self, keys: Iterable[int], reason: str, now: float) -> None:
        jobs = [self._plan.jobs[key] for key in keys if key in self._plan.jobs]
        reason = reason.partition(_FURTHER)[0].strip()
        for job in jobs:
            self.reasons[job.key] = reason
            after = "" if job.begun is None else f" after {took(now - job.begun)}"
            text = f"{_name(job)}FAILED{after}"
            log.error(self._line("", job.stage, f"{text}: {reason}" if reason else text))
            job.begun = None

    def _rate(self, key: StageKey, stage: Stage, seconds: float) -> float | None:
        """Images per second: from the log, else from frames if the duration depends on them."""
        rule, job = key[0], stage.jobs[0]
        logged = job_logs.image_rate(job_logs.tail(job.log)) if job.log else None
        if logged is not None:
            return logged
        by_frames = minutes(rule, _LONG_CLIP) > 2 * minutes(rule, 0)
        if not by_frames or len(key) > 2 or seconds < _SHORTEST:
            return None
        return self._frames_of(job.subject) * len(stage.jobs) / stage.whole / seconds

    def _line(self, count: str, key: StageKey, text: str) -> str:
        number, rule, label = self._columns
        names = f"{shown(key[0], rule):<{rule}}  {shown(' '.join(key[1:]), label):<{label}}"
        return printable(f"{count:>{number}}  {names}  {text}").rstrip()


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, rounded."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def took(seconds: float) -> str:
    """A past duration, with more digits than `duration`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if 90 <= seconds < 5400:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    return duration(seconds)


def _name(job: RunJob) -> str:
    """Prefix that names a job's chunk, if any."""
    return f"chunk {job.chunk} " if job.chunk else ""


def _many(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
