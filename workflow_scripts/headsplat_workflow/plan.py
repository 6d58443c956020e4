"""The table that `snakemake plan` prints."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headsplat_workflow.dag import Plan, PlannedJob

from headsplat.evaluate.report.costs import read_costs

SHARED = "what all share"
# Subjects whose last costs are read; the others' are taken to be alike.
_SAMPLED = 20


@dataclass(frozen=True)
class Row:
    """One stage of a subject: jobs that would run, why, and their seconds last time."""

    rule: str
    jobs: int
    why: str
    seconds: float | None


def plan_table(plan: Plan, logs: Path = Path("logs")) -> str:
    """What would run by subject and stage; subjects with the same plan share their lines."""
    of_subject: dict[str | None, list[PlannedJob]] = {}
    for job in plan.jobs:
        of_subject.setdefault(job.subject, []).append(job)
    everyone = {subject for subject, _ in plan.kept} | of_subject.keys()
    groups: dict[tuple[tuple[str, int, str], ...], list[str | None]] = {}
    for subject in sorted(everyone, key=lambda s: (s is not None, s)):
        groups.setdefault(_outline(of_subject.get(subject, [])), []).append(subject)

    lines, total = [], 0.0
    for outline, subjects in groups.items():
        costs = _last_costs(subjects, logs)
        rows = [
            Row(rule, jobs, why, jobs * costs[rule] if rule in costs else None)
            for rule, jobs, why in outline
        ]
        total += len(subjects) * sum(row.seconds or 0 for row in rows)
        lines += _group_lines(subjects, rows)
    jobs = len(plan.jobs)
    if not jobs:
        return "\n".join([*lines, "nothing to do"])
    took = f"; last time such jobs took {_duration(total)} in all" if total else ""
    return "\n".join([*lines, f"{jobs} jobs{took}"])


def _outline(jobs: Sequence[PlannedJob]) -> tuple[tuple[str, int, str], ...]:
    """(rule, number of jobs, why) in the order of the work."""
    before = _rules_before(jobs)
    outline = []
    for rule in _in_order(before):
        of_rule = [job for job in jobs if job.rule == rule]
        why = list(dict.fromkeys(reason for job in of_rule for reason in job.why))
        if not why:
            direct = {name for job in of_rule for name in job.after}
            # Those right before it: what comes before them is told there.
            far = {name for near in direct for name in before.get(near, ())}
            why = [f"after {', '.join(sorted(direct - far))}"]
        outline.append((rule, len(of_rule), "; ".join(why)))
    return tuple(outline)


def _rules_before(jobs: Sequence[PlannedJob]) -> dict[str, set[str]]:
    """Rule -> all rules that would run before it, other subjects' and shared ones included."""
    before: dict[str, set[str]] = {}
    for job in jobs:
        before.setdefault(job.rule, set()).update(job.after - {job.rule})
    for _ in before:
        for rule, names in before.items():
            before[rule] = names.union(*(before.get(name, ()) for name in names)) - {rule}
    return before


def _in_order(before: dict[str, set[str]]) -> list[str]:
    """Rules, each behind those before it."""
    return sorted(before, key=lambda rule: (len(before[rule] & before.keys()), rule))


def _last_costs(subjects: Sequence[str | None], logs: Path) -> dict[str, float]:
    """Rule -> mean seconds of one of its jobs."""
    seconds: dict[str, list[tuple[float, int]]] = {}
    for subject in subjects[:_SAMPLED]:
        for cost in read_costs(logs / (subject or "assets")):
            seconds.setdefault(cost.stage, []).append((cost.seconds, cost.jobs))
    return {
        rule: sum(s for s, _ in runs) / sum(n for _, n in runs) for rule, runs in seconds.items()
    }


def _group_lines(subjects: Sequence[str | None], rows: Sequence[Row]) -> list[str]:
    names = [subject or SHARED for subject in subjects]
    title = ", ".join(names) if len(names) < 3 else f"{names[0]} and {len(names) - 1} more"
    if not rows:
        return [f"{title}: up to date"]
    width = max(len(row.rule) for row in rows)
    lines = [f"{title}:"]
    for row in rows:
        jobs = f"{row.jobs} job{'s' if row.jobs > 1 else ''}"
        took = f"  [{_duration(row.seconds)} last time]" if row.seconds is not None else ""
        lines.append(f"  {row.rule:<{width}}  {jobs:<8}  {row.why}{took}")
    return lines


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
