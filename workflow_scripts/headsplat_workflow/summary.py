"""What became of each subject in a run: the lines at its end."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from headsplat_workflow import job_logs
from headsplat_workflow.run_jobs import SHARED, RunPlan
from headsplat_workflow.state import held_out_psnr

from headsplat.runtime.errors import printable

# Lines of a failed job's log that are shown, and subjects that are named in one line.
_LOG_LINES, _NAMED = 4, 8
# Finished subjects of which all files to open are named, and those that have a line of their own.
_IN_FULL, _ROWS = 3, 20
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
        pages: files for a person to open that it makes.
        reason: why it failed, as far as others than its log know.
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
        """The rule, and the chunk where it has several."""
        return self.rule if self.chunk is None else f"{self.rule} {self.chunk}"


# What was stopped has saved and ended because it was asked to.
DONE, FAILED, LEFT, STOPPED = "done", "failed", "left", "stopped"


def jobs_of(
    plan: RunPlan,
    dag: Any,
    failed: Collection[Any],
    stopped: Collection[Any] = (),
    reasons: Mapping[int, str] = MappingProxyType({}),
) -> list[Job]:
    """The jobs of a run that Snakemake made or would have made.

    Args:
        plan: of the run.
        dag: Snakemake's, after the run.
        failed: its jobs that failed for good.
        stopped: those of them that ended after the run was asked to stop; they count as failed
            only where their log says why.
        reasons: number of a failed job -> what others than its log say about it.
    """
    failed, stopped = _members(failed), _members(stopped)
    jobs = []
    for job in plan.jobs.values():
        state = DONE if dag.finished(job.source) else LEFT
        if state == LEFT and job.source in failed:
            tail = job_logs.tail(job.log) if job.log else []
            reason = job_logs.failure(tail)
            asked = job_logs.stopped(tail) or (job.source in stopped and reason in _NO_REASON)
            # Of a group, what does not say why is not to blame.
            state = STOPPED if asked else LEFT if failed[job.source] and not reason else FAILED
        reason = reasons.get(job.key, "")
        jobs.append(Job(job.rule, job.subject, job.log, state, job.chunk, job.pages, reason))
    return jobs


def _members(jobs: Collection[Any]) -> dict[Any, bool]:
    """Single jobs, those of groups too -> whether a log of their group says why it failed."""
    single = {job: False for job in jobs if not job.is_group()}
    for group in (job for job in jobs if job.is_group()):
        reasons = [job_logs.failure(job_logs.tail(Path(path))) for job in group for path in job.log]
        single |= dict.fromkeys(group, any(reasons))
    return single


def summary(jobs: Sequence[Job], stopped: bool) -> str:
    """Per subject: done and where to look, failed where and why, or left and because of what.

    Args:
        jobs: of the run.
        stopped: whether somebody asked the run to stop.
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
    """Lines about finished subjects, by the files of each that a person can open."""
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
