"""One line every few seconds while a run works: share done, what runs and how fast, time left."""

import csv
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from snakemake.logging import logger

from headsplat_workflow import job_logs
from headsplat_workflow.estimate import Costs, Estimate, Task, estimate
from headsplat_workflow.resources import probed_frames

from headsplat.evaluate.report.costs import read_costs

# Seconds between looks at the run; between lines, on a terminal and in a file.
LOOK_EVERY, TERMINAL_EVERY, FILE_EVERY = 5.0, 5.0, 30.0
# Running jobs and rules that are named, and subjects whose last costs are read.
_NAMED, _SAMPLED = 3, 20


@dataclass(frozen=True)
class Running:
    """A job that runs: rule and wildcards, its own progress, seconds it still takes, if known."""

    name: str
    progress: job_logs.Progress | None
    left: float | None

    def __str__(self) -> str:
        if self.progress is None:
            return self.name
        at = self.progress
        return f"{self.name} {at.done}/{at.total} {at.rate:.1f}{at.unit}/s {_duration(at.left)}"


def last_costs(folder: Path = Path("logs")) -> Costs:
    """What each rule's jobs took, as a few subjects' benchmark files say."""
    costs = Costs()
    if folder.is_dir():
        for subject in sorted(path for path in folder.iterdir() if path.is_dir())[:_SAMPLED]:
            frames = clip_frames(subject.name)
            for cost in read_costs(subject):
                costs.add(cost.stage, cost.seconds, cost.jobs, frames)
    return costs


def clip_frames(subject: str) -> int | None:
    """Frames of a subject's clip, once it is probed."""
    return probed_frames(Path("work", subject, "video.json"))


def read_running(job: Any, expected: float | None, spent: float) -> Running:
    """What a running job says and what similar jobs took; whichever is longer counts.

    Args:
        job: Snakemake's.
        expected: seconds that it takes in all, if known.
        spent: seconds that it has run.
    """
    log = next((Path(path) for path in job.log), None)
    progress = job_logs.last_progress(job_logs.tail(log)) if log else None
    times = [] if expected is None else [max(0.0, expected - spent)]
    times += [] if progress is None else [progress.left]
    name = " ".join([job.rule.name, *job.wildcards_dict.values()])
    return Running(name, progress, max(times, default=None))


def describe(done: int, total: int, whole: Estimate, running: Sequence[Running]) -> str:
    """The line: how far the run is, and the running jobs that take longest."""
    parts = [f"{done} of {total} jobs"]
    if whole.share is not None:
        parts = [f"{whole.share:.0%}", *parts, f"{_duration(whole.seconds)} left"]
    else:
        # No number, even as a lower bound: the longest stage may be among them.
        names = ", ".join(whole.unknown[:_NAMED])
        more = f" and {len(whole.unknown) - _NAMED} more" if len(whole.unknown) > _NAMED else ""
        parts.append(f"time left not known yet ({names}{more} not measured)")
    order = sorted(running, key=lambda job: -(job.left or 0.0))
    named = [str(job) for job in order[:_NAMED]]
    if len(order) > _NAMED:
        named.append(f"{len(order) - _NAMED} more")
    return " | ".join([", ".join(parts), *named])


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class ProgressThread(threading.Thread):
    """Reads the state of Snakemake's run, and the logs of the jobs that run.

    Args:
        workflow: Snakemake's object of that name, whose jobs are planned.
    """

    def __init__(self, workflow: Any) -> None:
        super().__init__(daemon=True, name="headsplat progress")
        self._workflow = workflow
        planned = workflow.dag.needrun_jobs(exclude_finished=False)
        jobs = {job for job in planned if job.rule.has_products()}
        before = {
            job: [j for j in workflow.dag.dependencies.get(job, ()) if j in jobs] for job in jobs
        }
        # Each after the jobs that it waits for.
        self._jobs = list(TopologicalSorter(before).static_order())
        keys = {job: key for key, job in enumerate(self._jobs)}
        self._after = [[keys[j] for j in before[job]] for job in self._jobs]
        self._subjects = [job.wildcards_dict.get("subject") for job in self._jobs]
        self._shares = [_share(job.rule, workflow.resource_settings) for job in self._jobs]
        self._costs = Costs(before=last_costs())
        self._frames: dict[str, int | None] = {}
        self._begun: dict[Any, float] = {}
        self._done: set[int] = set()
        self._over = threading.Event()

    def run(self) -> None:
        """Print a line now and then, until `finish`."""
        every = TERMINAL_EVERY if sys.stderr.isatty() else FILE_EVERY
        due = time.monotonic() + every
        while not self._over.wait(LOOK_EVERY):
            running = self._look()
            if time.monotonic() >= due:
                due = time.monotonic() + every
                logger.info(self._line(running))

    def finish(self) -> None:
        """Print nothing more."""
        self._over.set()

    def _look(self) -> list[Any]:
        """Note what has begun and ended since the last look; the jobs that run."""
        now = time.monotonic()
        running = [job for g in list(self._workflow.scheduler.running) for job in _members(g)]
        for job in running:
            self._begun.setdefault(job, now)
        for key, job in enumerate(self._jobs):
            if key not in self._done and self._workflow.dag.finished(job):
                self._done.add(key)
                seconds = _benchmark(job)
                if seconds is not None:
                    self._costs.add(job.rule.name, seconds, 1, self._clip(key))
        return running

    def _line(self, running: Sequence[Any]) -> str:
        """Where the run stands."""
        now, told = time.monotonic(), list[Running]()
        tasks: dict[int, Task] = {}
        done, at_work = 0.0, set(running)
        for key, job in enumerate(self._jobs):
            left, spent = self._costs.expected(job.rule.name, self._clip(key)), 0.0
            share = self._shares[key]
            if key in self._done:
                done += (left or 0.0) * share
                continue
            if job in at_work:
                spent = now - self._begun[job]
                told.append(read_running(job, left, spent))
                left = told[-1].left
            tasks[key] = Task(job.rule.name, left, self._after[key], share, spent)
        return describe(len(self._done), len(self._jobs), estimate(tasks, done), told)

    def _clip(self, key: int) -> int | None:
        """Frames of a job's clip; asked again until they are known."""
        subject = self._subjects[key]
        if subject is None:
            return None
        if self._frames.get(subject) is None:
            self._frames[subject] = clip_frames(subject)
        return self._frames[subject]


def _share(rule: Any, settings: Any) -> float:
    """Of all that runs at once, what a rule's job takes: of cores, else of places for jobs."""
    if not settings.cores:
        return 1 / (settings.nodes or 1)
    threads = rule.resources["_cores"]
    if not isinstance(threads, int):
        threads = 1 if threads.is_evaluable() else threads.value
    return min(1.0, threads / settings.cores)


def _benchmark(job: Any) -> float | None:
    """Seconds that a job took, as Snakemake has written them down."""
    try:
        with open(str(job.benchmark), newline="") as handle:
            return float(next(csv.DictReader(handle, delimiter="\t"))["s"])
    except (OSError, ValueError, KeyError, StopIteration):
        return None


def _members(job: Any) -> list[Any]:
    return list(job) if job.is_group() else [job]
