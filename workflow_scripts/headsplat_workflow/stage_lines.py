"""A line for each stage that ends, and for each job that fails, from Snakemake's log events."""

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

# `--quiet progress` drops the lines about stages.
PROGRESS = {"quietness": Quietness.PROGRESS}
# Columns of the names of stages and subjects, at most.
_STAGE, _SUBJECT = 24, 24
# Seconds that tell a rate: `--touch` takes less.
_SHORTEST = 0.1
# Frames of ten minutes: what takes no more than twice as long for them does not go by frames.
_LONG_CLIP = 15_000
# How Snakemake says that a signal ended a job.
_DIED = re.compile(r"died with <Signals\.\w+: \d+>\.")
# What executors add to their reason behind it.
_FURTHER = "For further error details"


class StageLines(logging.Handler):
    """Follows a run by the events that Snakemake logs, and says what has become of its stages.

    Args:
        plan: of the run; its jobs' times are noted.
        frames_of: frames of a subject's clip; of None, of what all subjects share.

    Attributes:
        reasons: number of a job that failed -> what Snakemake or a cluster says about it.
    """

    def __init__(self, plan: RunPlan, frames_of: Callable[[str | None], float]) -> None:
        super().__init__()
        self._plan, self._frames_of = plan, frames_of
        self._said = 0
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
        """Say how much there is to do, and where the whole log is."""
        jobs, done = len(self._plan.jobs), self._plan.done_before
        subjects = {job.subject for job in self._plan.jobs.values()} - {None}
        line = f"{_many(jobs, 'job')} in {_many(len(self._plan.stages), 'stage')}"
        line += f" of {len(subjects)} subjects" if len(subjects) > 1 else ""
        line += f", {_many(done, 'job')} done already" if done else ""
        log.info(f"{line}; full log: {log_file}" if log_file else line, extra=PROGRESS)

    def emit(self, record: logging.LogRecord) -> None:
        """Note what an event tells."""
        try:
            self._note(record, getattr(record, "event", None), time.monotonic())
        except Exception:  # as all handlers: what is told must not end what it tells of
            self.handleError(record)

    def _note(self, record: Any, event: str | None, now: float) -> None:
        if event == LogEvent.JOB_STARTED:
            for key in record.jobs:
                self._begun(key, now)
        elif event == LogEvent.JOB_INFO:  # of a job that starts later than those chosen with it
            self._begun(record.jobid, now)
        elif event == LogEvent.JOB_FINISHED:
            self._ended(record.job_id, now)
        elif event == LogEvent.ERROR:
            # Of the job about which the same thread speaks next.
            found = _DIED.search(record.getMessage())
            self._deaths[record.thread] = found[0] if found else ""
        elif event == LogEvent.GROUP_ERROR:
            self._failed([job["jobid"] for job in record.job_error_info], "", now)
        elif event == LogEvent.JOB_ERROR and not record.indent:  # else one of a group
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
        self._said += 1
        seconds = stage.seconds(now)
        rate = None if seconds is None else self._rate(job.stage, stage, seconds)
        spent = "" if seconds is None else took(seconds)
        numbers = f"{f'{rate:,.0f} images/s' if rate else '':>15}  {spent:>11}"
        count = f"{self._said}/{len(self._plan.stages)}"
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
        """Images a second: of a log that counts them, else of a stage that goes by frames."""
        rule, job = key[0], stage.jobs[0]
        said = job_logs.image_rate(job_logs.tail(job.log)) if job.log else None
        if said is not None:
            return said
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
    """A duration that is over, to a second or a tenth."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if 90 <= seconds < 5400:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    return duration(seconds)


def _name(job: RunJob) -> str:
    """The chunk that a line is about, where it is not about the whole stage."""
    return f"chunk {job.chunk} " if job.chunk else ""


def _many(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
