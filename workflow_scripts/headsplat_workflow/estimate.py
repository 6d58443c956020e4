"""How long a run still takes: from what similar jobs took, and what its running stages say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# A training takes its number of steps, however long the clip.
_SAME_FOR_ANY_CLIP = ("train_avatar",)


@dataclass
class _Taken:
    """Seconds and number of some jobs, and seconds and frames of those whose clip is known."""

    seconds: float = 0.0
    jobs: int = 0
    framed: float = 0.0
    frames: int = 0


class Costs:
    """Seconds that the jobs of each rule took.

    Args:
        before: what counts for a rule until one of its jobs is known here.
    """

    def __init__(self, before: "Costs | None" = None) -> None:
        self._before, self._taken = before, dict[str, _Taken]()

    def add(self, rule: str, seconds: float, jobs: int, frames: int | None) -> None:
        """Note `jobs` jobs that took `seconds` together; `frames` are the clip's, if known."""
        taken = self._taken.setdefault(rule, _Taken())
        taken.seconds += seconds
        taken.jobs += jobs
        if frames:
            taken.framed += seconds
            taken.frames += jobs * frames

    def expected(self, rule: str, frames: int | None) -> float | None:
        """Seconds of a job by its clip's frames; None where none of its rule is known."""
        taken = self._taken.get(rule)
        if taken is None or not taken.jobs:
            return self._before.expected(rule, frames) if self._before else None
        if frames and taken.frames and rule not in _SAME_FOR_ANY_CLIP:
            return taken.framed / taken.frames * frames
        return taken.seconds / taken.jobs


@dataclass
class Task:
    """One job that is not done.

    Attributes:
        rule: its name.
        left: seconds that it takes, or still takes where it runs; None where that is not known.
        after: tasks that must end before it begins, by their keys.
        share: of all that runs at once, what this one takes; 0 to 1.
        spent: seconds that it ran.
    """

    rule: str
    left: float | None
    after: Sequence[int] = ()
    share: float = 1.0
    spent: float = 0.0


@dataclass(frozen=True)
class Estimate:
    """What is left of a run.

    Attributes:
        seconds: left, at least where rules are unknown.
        share: of the work that is done, or None.
        unknown: rules that were never measured.
    """

    seconds: float
    share: float | None
    unknown: tuple[str, ...]


def estimate(tasks: Mapping[int, Task], done: float) -> Estimate:
    """What is left of a run.

    No less than the longest chain of tasks that wait for each other, hence than any running one,
    and no less than all work over what runs at once.

    Args:
        tasks: those that are not done, by keys; each behind those that it waits for.
        done: seconds of those that are, each times its share.
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
