"""Estimate a run's remaining time from earlier jobs' durations and running stages' progress."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headsplat_workflow.stages import STAGES


@dataclass
class _Taken:
    """Total seconds and number of jobs; `framed` and `frames` cover clips of known length."""

    seconds: float = 0.0
    jobs: int = 0
    framed: float = 0.0
    frames: int = 0


class Costs:
    """Durations of finished jobs, by rule.

    Args:
        before: durations to use for rules without an entry here.
    """

    def __init__(self, before: "Costs | None" = None) -> None:
        self._before, self._taken = before, dict[str, _Taken]()

    def add(self, rule: str, seconds: float, jobs: int, frames: int | None) -> None:
        """Add `jobs` jobs that took `seconds` in total; `frames` is the clip's length, if known."""
        taken = self._taken.setdefault(rule, _Taken())
        taken.seconds += seconds
        taken.jobs += jobs
        if frames:
            taken.framed += seconds
            taken.frames += jobs * frames

    def expected(self, rule: str, frames: int | None) -> float | None:
        """Expected seconds of one job of a clip with `frames` frames; None for an unknown rule."""
        taken = self._taken.get(rule)
        if taken is None or not taken.jobs:
            return self._before.expected(rule, frames) if self._before else None
        if frames and taken.frames and _by_frames(rule):
            return taken.framed / taken.frames * frames
        return taken.seconds / taken.jobs


def _by_frames(rule: str) -> bool:
    return rule not in STAGES or STAGES[rule].by_frames


@dataclass
class Task:
    """One unfinished job.

    Attributes:
        rule: its name.
        left: seconds that remain; None if unknown.
        after: keys of the tasks that must end before it starts.
        share: fraction of the run's parallel capacity that it occupies, 0 to 1.
        spent: seconds that it has run.
    """

    rule: str
    left: float | None
    after: Sequence[int] = ()
    share: float = 1.0
    spent: float = 0.0


@dataclass(frozen=True)
class Estimate:
    """Remaining time of a run.

    Attributes:
        seconds: remaining; a lower bound if some rules are unknown.
        share: fraction of the work that is done; None if some rules are unknown.
        unknown: rules without a measured duration.
    """

    seconds: float
    share: float | None
    unknown: tuple[str, ...]


def estimate(tasks: Mapping[int, Task], done: float) -> Estimate:
    """Estimate the remaining time of a run.

    The maximum of the critical path (the longest chain of dependent tasks) and the total work over
    the parallel capacity.

    Args:
        tasks: unfinished ones by key, in topological order.
        done: seconds of the finished ones, each times its share.
    """
    end: dict[int, float] = {}
    for key, task in tasks.items():
        begin = max((end[k] for k in task.after if k in end), default=0.0)
        end[key] = begin + (task.left or 0.0)
    work = sum((task.left or 0.0) * task.share for task in tasks.values())
    unknown = tuple(sorted({task.rule for task in tasks.values() if task.left is None}))
    past = done + sum(task.spent * task.share for task in tasks.values())
    share = None if unknown else past / (past + work) if past + work else 1.0
    return Estimate(max([work, *end.values()]), share, unknown)
