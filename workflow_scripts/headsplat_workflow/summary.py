"""Closing summary of a run: per subject done, failed, stopped or not started, and why."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from headsplat_workflow import job_logs
from headsplat_workflow.run_jobs import SHARED, RunPlan
from headsplat_workflow.state import held_out_psnr

from headsplat.runtime.errors import printable

# Log lines shown of a failed job, and subjects named in one line.
_LOG_LINES, _NAMED = 4, 8
# Up to _IN_FULL finished subjects are listed with all files to open, up to _ROWS with one each.
_IN_FULL, _ROWS = 3, 20
# Failure reasons of a stage that was stopped during its imports.
_NO_REASON = (None, "KeyboardInterrupt")


@dataclass(frozen=True)
class Job:
    """Final state of one job.

    Attributes:
        rule: its name.
        subject: None for jobs that all subjects share.
        log: its log file, if any.
        state: one of `DONE`, `FAILED`, `LEFT` and `STOPPED`.
        chunk: of chunked rules.
        pages: reports and videos among its outputs, for a person to open.
        reason: why it failed according to Snakemake or the cluster.
    """

    rule: str
    subject: str | None
    log: Path | None
    state: str
    chunk: str | None = None
    pages: tuple[str, ...] = ()
    reason: str = ""

    @property
    def name(self) -> str:
        """The rule, with the chunk if it is chunked."""
        return self.rule if self.chunk is None else f"{self.rule} {self.chunk}"


# LEFT: did not start or finish. STOPPED: saved and exited on request.
DONE, FAILED, LEFT, STOPPED = "done", "failed", "left", "stopped"


def jobs_of(
    plan: RunPlan,
    dag: Any,
    failed: Collection[Any],
    stopped: Collection[Any] = (),
    reasons: Mapping[int, str] = MappingProxyType({}),
) -> list[Job]:
    """Final states of all jobs of a run.

    Args:
        plan: of the run.
        dag: Snakemake's DAG, after the run.
        failed: Snakemake's jobs that failed on their last attempt.
        stopped: those of `failed` that ended after the run was asked to stop; they count as failed
            only if their log says why.
        reasons: id of a failed job -> Snakemake's or the cluster's message about it.
    """
    failed, stopped = _members(failed), _members(stopped)
    jobs = []
    for job in plan.jobs.values():
        state = DONE if dag.finished(job.source) else LEFT
        if state == LEFT and job.source in failed:
            tail = job_logs.tail(job.log) if job.log else []
            reason = job_logs.failure(tail)
            asked = job_logs.stopped(tail) or (job.source in stopped and reason in _NO_REASON)
            # Within a failed group, only jobs whose log gives a reason have failed.
            state = STOPPED if asked else LEFT if failed[job.source] and not reason else FAILED
        reason = reasons.get(job.key, "")
        jobs.append(Job(job.rule, job.subject, job.log, state, job.chunk, job.pages, reason))
    return jobs


def _members(jobs: Collection[Any]) -> dict[Any, bool]:
    """Single jobs, also those inside groups -> whether a log of their group gives a reason."""
    single = {job: False for job in jobs if not job.is_group()}
    for group in (job for job in jobs if job.is_group()):
        reasons = [job_logs.failure(job_logs.tail(Path(path))) for job in group for path in job.log]
        single |= dict.fromkeys(group, any(reasons))
    return single


def summary(jobs: Sequence[Job], stopped: bool) -> str:
    """Lines per subject: files to open, failures with log lines, or why it is unfinished.

    Args:
        jobs: of the run.
        stopped: whether the run was asked to stop.
    """
    of_subject: dict[str | None, list[Job]] = {}
    for job in jobs:
        of_subject.setdefault(job.subject, []).append(job)
    done, left, failed = dict[str, list[str]](), dict[str, list[str]](), list[str]()
    shared = [job for job in of_subject.get(None, []) if job.state == FAILED]
    for subject, own in sorted(of_subject.items(), key=lambda item: (item[0] is not None, item[0])):
        failures = [job for job in own if job.state == FAILED]
        remaining = sum(job.state in (LEFT, STOPPED) for job in own)
        if failures:
            failed += _failed(subject or SHARED, failures, remaining)
        elif subject is None:
            continue
        elif not remaining:
            done[subject] = [page for job in own for page in job.pages]
        else:
            left.setdefault(_cause(own, shared, stopped), []).append(subject)
    lines = [*_done(done), *failed, *(f"{cause}: {_names(names)}" for cause, names in left.items())]
    return "\n".join(map(printable, lines))


def _done(pages: dict[str, list[str]]) -> list[str]:
    """Lines for finished subjects; `pages` maps each to the files that a person can open."""
    lines, others = list[str](), [subject for subject in pages if not pages[subject]]
    shown = [subject for subject in pages if pages[subject]]
    for subject in shown[:_ROWS]:
        psnr = held_out_psnr(subject)
        line = f"{subject}: done" if psnr is None else f"{subject}: done, PSNR {psnr:.1f} dB"
        line += "" if psnr is None or len(shown) > _IN_FULL else " on held-out frames"
        files = sorted(pages[subject], key=lambda file: (not file.endswith(".html"), file))
        if len(shown) > _IN_FULL:
            lines.append(f"{line}  {files[0]}")
        else:
            lines += [line, *(f"    {file}" for file in files)]
    others += shown[_ROWS:]
    return [*lines, *([f"done: {_names(others)}"] if others else [])]


def _failed(subject: str, failures: Sequence[Job], remaining: int) -> list[str]:
    lines = []
    for job in failures:
        jobs = f"{remaining} job{'s' if remaining > 1 else ''}"
        after = f"; {jobs} after it did not start" if remaining else ""
        lines.append(f"{subject}: FAILED in {job.name}{after}")
        tail = job_logs.tail(job.log) if job.log else []
        reason = job_logs.failure(tail)
        others = [job.reason] if job.reason else []
        shown = [f"error: {reason}"] if reason is not None else [*tail[-_LOG_LINES:], *others]
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
