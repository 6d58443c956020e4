"""What became of each subject in a run: the table at its end."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headsplat_workflow import job_logs
from headsplat_workflow.refusals import subject_of

SHARED = "all subjects"
# Lines of a failed job's log that are shown, and subjects that are named in one line.
_LOG_LINES, _NAMED = 4, 8
# What the log of a stage says that was stopped while it was still being loaded.
_NO_REASON = (None, "KeyboardInterrupt")


@dataclass(frozen=True)
class Job:
    """One job of the run.

    Attributes:
        rule: its name.
        subject: whose it is; None for what all subjects share.
        log: its log file, where it has one.
        state: one of `DONE`, `FAILED`, `LEFT` and `STOPPED`.
        chunk: of chunked rules.
    """

    rule: str
    subject: str | None
    log: Path | None
    state: str
    chunk: str | None = None

    @property
    def name(self) -> str:
        """The rule, and the chunk where it has several."""
        return self.rule if self.chunk is None else f"{self.rule} {self.chunk}"


# What was stopped has saved and ended because it was asked to.
DONE, FAILED, LEFT, STOPPED = "done", "failed", "left", "stopped"


def jobs_of(dag: Any, failed: Collection[Any], stopped: Collection[Any] = ()) -> list[Job]:
    """The jobs of a run that Snakemake made or would have made.

    Args:
        dag: Snakemake's, after the run.
        failed: its jobs that failed for good.
        stopped: those of them that ended after the run was asked to stop; they count as failed
            only where their log says why.
    """
    jobs = []
    for job in dag.needrun_jobs(exclude_finished=False):
        if not job.rule.has_products():
            continue  # a target
        log, chunk = next(iter(job.log), None), job.wildcards_dict.get("chunk")
        log = log and Path(log)
        state = DONE if dag.finished(job) else LEFT
        if state == LEFT and job in failed:
            tail = job_logs.tail(log) if log else []
            asked = job_logs.stopped(tail) or (
                job in stopped and job_logs.failure(tail) in _NO_REASON
            )
            state = STOPPED if asked else FAILED
        jobs.append(Job(job.rule.name, subject_of(job), log, state, chunk))
    return jobs


def summary(jobs: Sequence[Job], stopped: bool) -> str:
    """Per subject: done, failed where and why, or left and because of what.

    Args:
        jobs: of the run.
        stopped: whether somebody asked the run to stop.
    """
    of_subject: dict[str | None, list[Job]] = {}
    for job in jobs:
        of_subject.setdefault(job.subject, []).append(job)
    done, left, lines = [], {}, []
    shared = [job for job in of_subject.get(None, []) if job.state == FAILED]
    for subject, own in sorted(of_subject.items(), key=lambda item: (item[0] is not None, item[0])):
        failures = [job for job in own if job.state == FAILED]
        remaining = sum(job.state in (LEFT, STOPPED) for job in own)
        if failures:
            lines += _failed(subject or SHARED, failures, remaining)
        elif not remaining:
            done.append(subject or SHARED)
        elif subject is not None:
            left.setdefault(_cause(own, shared, stopped), []).append(subject)
    subjects = [name for name in done if name != SHARED]
    if subjects:
        lines.insert(0, f"done: {_names(subjects)}")
    for cause, names in left.items():
        lines.append(f"{cause}: {_names(names)}")
    return "\n".join(lines)


def _failed(subject: str, failures: Sequence[Job], remaining: int) -> list[str]:
    lines = []
    for job in failures:
        jobs = f"{remaining} job{'s' if remaining > 1 else ''}"
        after = f"; {jobs} after it did not start" if remaining else ""
        lines.append(f"{subject}: FAILED in {job.name}{after}")
        tail = job_logs.tail(job.log) if job.log else []
        reason = job_logs.failure(tail)
        shown = [f"error: {reason}"] if reason is not None else tail[-_LOG_LINES:]
        lines += [f"    {line}" for line in shown]
        lines.append(f"    log: {job.log}" if tail else f"    no log was written ({job.log})")
    return lines


def _cause(own: Sequence[Job], shared: Sequence[Job], stopped: bool) -> str:
    if shared:
        return f"not finished, because {shared[0].name} failed"
    at_work = any(job.state in (DONE, STOPPED) for job in own)
    began = "not finished" if at_work else "not started"
    return f"{began}, because the run was {'stopped' if stopped else 'ended by a failure'}"


def _names(names: Sequence[str]) -> str:
    if len(names) <= _NAMED:
        return ", ".join(names)
    return f"{', '.join(names[:_NAMED])} and {len(names) - _NAMED} more"
