"""Progress line of a run: redrawn in place on a terminal, logged at intervals elsewhere."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

from headsplat_workflow import job_logs
from headsplat_workflow.console import WIDTH, Console, log
from headsplat_workflow.estimate import Costs, Estimate, Task, estimate
from headsplat_workflow.resources import probed_frames
from headsplat_workflow.run_jobs import RunJob, RunPlan
from headsplat_workflow.stage_lines import PROGRESS, duration

from headsplat.evaluate.report.costs import read_costs

# Seconds between lines, on a terminal and elsewhere. FILE_SHARE lengthens the interval with the
# run's duration, so that its log stays short.
TERMINAL_EVERY, FILE_EVERY, FILE_SHARE = 1.0, 30.0, 0.1
# Largest fraction of the time that reading the logs of a large run may take.
_MAX_LOAD = 0.02
# Running jobs named in the line, and subjects whose benchmark files are read.
_NAMED, _SAMPLED = 3, 20


@dataclass(frozen=True)
class Running:
    """A running job: rule and wildcards, its own progress, and its remaining seconds if known."""

    name: str
    progress: job_logs.Progress | None
    left: float | None

    def __str__(self) -> str:
        if self.progress is None:
            return self.name
        at = self.progress
        return f"{self.name} {at.done}/{at.total} {at.rate:.1f}{at.unit}/s {duration(at.left)}"


def last_costs(folder: Path = Path("logs")) -> Costs:
    """Durations of each rule's jobs, from the benchmark files of a few subjects."""
    costs = Costs()
    if folder.is_dir():
        for subject in sorted(path for path in folder.iterdir() if path.is_dir())[:_SAMPLED]:
            frames = clip_frames(subject.name)
            for cost in read_costs(subject):
                costs.add(cost.stage, cost.seconds, cost.jobs, frames)
    return costs


def clip_frames(subject: str) -> int | None:
    """Frames of a subject's clip, or None before it is probed."""
    return probed_frames(Path("work", subject, "video.json"))


def read_running(job: RunJob, expected: float | None, spent: float) -> Running:
    """Read a running job's progress; its remaining time is the larger of two estimates.

    One is the progress line in its log, the other the duration of similar jobs.

    Args:
        job: of the run.
        expected: its total seconds, if known.
        spent: seconds that it has run.
    """
    progress = job_logs.last_progress(job_logs.tail(job.log)) if job.log else None
    times = [] if expected is None else [max(0.0, expected - spent)]
    times += [] if progress is None else [progress.left]
    name = " ".join([job.rule, *filter(None, (job.subject, *job.stage[2:], job.chunk))])
    return Running(name, progress, max(times, default=None))


def describe(done: int, total: int, whole: Estimate, running: Sequence[Running]) -> str:
    """Format the line: progress of the run, and the running jobs with the most time left."""
    parts = [f"{done} of {total} jobs"]
    if whole.share is not None:
        parts = [f"{whole.share:.0%}", *parts, f"{duration(whole.seconds)} left"]
    else:
        # Not even a lower bound: the longest stage may not have been measured yet.
        parts.append("time left unknown")
    order = sorted(running, key=lambda job: -(job.left or 0.0))
    named = [str(job) for job in order[:_NAMED]]
    if len(order) > _NAMED:
        named.append(f"{len(order) - _NAMED} more")
    return " | ".join([", ".join(parts), *named])


class ProgressThread(threading.Thread):
    """Thread that reads the running jobs' logs and prints or draws the progress line.

    Args:
        plan: of the run; `StageLines` records its jobs' times.
        console: that draws the live line, if any.
        margin: blanks before a printed line.
    """

    def __init__(self, plan: RunPlan, console: Console | None, margin: int) -> None:
        super().__init__(daemon=True, name="headsplat progress")
        self._plan, self._margin = plan, " " * margin
        # Topological order.
        order = TopologicalSorter({key: job.after for key, job in plan.jobs.items()})
        self._order = [plan.jobs[key] for key in order.static_order()]
        self._console = console if console and console.is_terminal else None
        self._costs = Costs(before=last_costs())
        self._frames: dict[str, int | None] = {}
        self._measured = set[int]()
        self._over = threading.Event()

    def run(self) -> None:
        """Draw or print a line at intervals, until `finish`."""
        start = time.monotonic()
        wait = TERMINAL_EVERY if self._console else FILE_EVERY
        while not self._over.wait(wait):
            begun = time.monotonic()
            line = self.line(begun)
            if self._over.is_set():
                return
            if self._console:
                self._console.draw(line)
                wait = max(TERMINAL_EVERY, (time.monotonic() - begun) / _MAX_LOAD)
            else:
                log.info(f"{self._margin}{line}"[:WIDTH], extra=PROGRESS)
                wait = max(FILE_EVERY, (begun - start) * FILE_SHARE)

    def finish(self) -> None:
        """Stop, and remove the live line."""
        self._over.set()
        if self._console:
            self._console.draw("")

    def line(self, now: float) -> str:
        """The progress line at `now`, seconds of the monotonic clock."""
        self._measure()
        running = list[Running]()
        tasks: dict[int, Task] = {}
        done = 0.0
        for job in self._order:
            left, spent = self._costs.expected(job.rule, self._clip(job)), 0.0
            share = self._plan.shares[job.rule]
            if job.ended is not None:
                done += (left or 0.0) * share
                continue
            begun = job.begun  # set by another thread
            if begun is not None:
                spent = now - begun
                running.append(read_running(job, left, spent))
                left = running[-1].left
            tasks[job.key] = Task(job.rule, left, job.after, share, spent)
        ended = len(self._plan.jobs) - len(tasks)
        return describe(ended, len(self._plan.jobs), estimate(tasks, done), running)

    def _measure(self) -> None:
        """Record the durations of the jobs that ended since the last call."""
        for job in self._order:
            if job.ended is not None and job.key not in self._measured:
                self._measured.add(job.key)
                seconds = job.measured()
                if seconds is not None:
                    self._costs.add(job.rule, seconds, 1, self._clip(job))

    def _clip(self, job: RunJob) -> int | None:
        """Frames of a job's clip; looked up again until known."""
        if job.subject is None:
            return None
        if self._frames.get(job.subject) is None:
            self._frames[job.subject] = clip_frames(job.subject)
        return self._frames[job.subject]
