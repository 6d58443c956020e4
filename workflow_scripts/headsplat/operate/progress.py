"""One line every few seconds while a run works: share done, what runs and how fast, time left."""

import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snakemake.logging import logger

from headsplat.operate import logs
from headsplat.report.costs import read_costs

# Seconds between lines, on a terminal and in a file.
TERMINAL_EVERY, FILE_EVERY = 5.0, 30.0
# Running jobs that are named, subjects whose last costs are read, and what a job of unknown cost
# counts where no cost is known.
_NAMED, _SAMPLED, _UNKNOWN = 3, 20, 10.0


def last_costs(folder: Path = Path("logs")) -> dict[str, float]:
    """Rule -> mean seconds of a job, as a few subjects' benchmark files say."""
    seconds, jobs = Counter[str](), Counter[str]()
    if folder.is_dir():
        for subject in sorted(path for path in folder.iterdir() if path.is_dir())[:_SAMPLED]:
            for cost in read_costs(subject):
                seconds[cost.stage] += cost.seconds
                jobs[cost.stage] += cost.jobs
    return {rule: seconds[rule] / jobs[rule] for rule in jobs}


def share_done(
    finished: Mapping[str, int], needed: Mapping[str, int], costs: Mapping[str, float]
) -> float:
    """Share of a run's work that is done, 0 to 1, each job weighed by what its like cost before.

    Args:
        finished: rule -> jobs done; those under way may count in part.
        needed: rule -> jobs of the run.
        costs: rule -> seconds of a job; the mean of the others stands for what is not known.
    """
    usual = sum(costs.values()) / len(costs) if costs else _UNKNOWN
    work = {rule: count * costs.get(rule, usual) for rule, count in needed.items()}
    done = sum(finished.get(rule, 0) * costs.get(rule, usual) for rule in needed)
    return done / total if (total := sum(work.values())) else 1.0


def describe(name: str, log: Path | None) -> str:
    """A running job: its last line of progress, where its log has one."""
    progress = logs.last_progress(logs.tail(log)) if log else None
    if progress is None:
        return name
    return (
        f"{name} {progress.done}/{progress.total} {progress.rate:.1f}/s {_duration(progress.left)}"
    )


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
        jobs = workflow.dag.needrun_jobs(exclude_finished=False)
        self._jobs = [job for job in jobs if job.rule.has_products()]
        self._needed = Counter(job.rule.name for job in self._jobs)
        self._costs = last_costs()
        self._begun = time.monotonic()
        self._over = threading.Event()

    def run(self) -> None:
        """Print a line now and then, until `finish`."""
        every = TERMINAL_EVERY if sys.stderr.isatty() else FILE_EVERY
        while not self._over.wait(every):
            logger.info(self.line())

    def finish(self) -> None:
        """Print nothing more."""
        self._over.set()

    def line(self) -> str:
        """Where the run stands."""
        dag, scheduler = self._workflow.dag, self._workflow.scheduler
        done = [job for job in self._jobs if dag.finished(job)]
        share = share_done(Counter(job.rule.name for job in done), self._needed, self._costs)
        passed = time.monotonic() - self._begun
        left = f", {_duration(passed * (1 - share) / share)} left" if share > 0.02 else ""
        running = [job for group in list(scheduler.running) for job in _members(group)]
        named = [
            describe(
                " ".join([job.rule.name, *job.wildcards_dict.values()]),
                Path(next(iter(job.log))) if job.log else None,
            )
            for job in running[:_NAMED]
        ]
        if len(running) > _NAMED:
            named.append(f"{len(running) - _NAMED} more")
        head = f"{share:.0%}, {len(done)} of {len(self._jobs)} jobs{left}"
        return " | ".join([head, *named])


def _members(job: Any) -> list[Any]:
    return list(job) if job.is_group() else [job]
