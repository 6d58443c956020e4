"""The jobs of a run as Snakemake planned them, grouped into stages."""

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headsplat_workflow.refusals import subject_of

SHARED = "all subjects"
# Rule, subject, and the remaining wildcards.
StageKey = tuple[str, ...]
_PAGE = re.compile(r"results/.*\.(html|mp4)")


@dataclass(eq=False)
class RunJob:
    """One job of a run.

    Attributes:
        source: Snakemake's job.
        key: Snakemake's job id.
        rule: its name.
        subject: None for jobs that all subjects share.
        chunk: of chunked rules.
        stage: key of its stage.
        log: its log file, if any.
        pages: reports and videos among its outputs, for a person to open.
        after: ids of the jobs of this run that it depends on.
        begun, ended: seconds of a monotonic clock, or None. The start of a group job on a cluster
            is unknown.
    """

    source: Any
    key: int
    rule: str
    subject: str | None = None
    chunk: str | None = None
    stage: StageKey = ()
    log: Path | None = None
    pages: tuple[str, ...] = ()
    after: tuple[int, ...] = ()
    begun: float | None = None
    ended: float | None = None

    def measured(self) -> float | None:
        """Seconds that it took, from its benchmark file."""
        if self.log is None:
            return None
        try:
            with open(self.log.with_suffix(".tsv"), newline="") as handle:
                return float(next(csv.DictReader(handle, delimiter="\t"))["s"])
        except (OSError, ValueError, KeyError, StopIteration):
            return None


@dataclass
class Stage:
    """The jobs that one line of output reports.

    Attributes:
        jobs: those of this run.
        left: ids of the unfinished ones.
        whole: number of all its jobs, including those done before this run.
    """

    jobs: list[RunJob] = field(default_factory=list)
    left: set[int] = field(default_factory=set)
    whole: int = 0

    def seconds(self, now: float) -> float | None:
        """Seconds since its first job began; if unknown, the duration of its longest job."""
        begun = [job.begun for job in self.jobs if job.begun is not None]
        if begun:
            return now - min(begun)
        return max(filter(None, (job.measured() for job in self.jobs)), default=None)


@dataclass
class RunPlan:
    """All jobs of a run.

    Attributes:
        jobs: by Snakemake's job id.
        stages: that contain jobs of this run.
        shares: rule -> fraction of the run's parallel capacity that one job occupies, 0 to 1.
        done_before: number of jobs whose files were up to date.
    """

    jobs: dict[int, RunJob] = field(default_factory=dict)
    stages: dict[StageKey, Stage] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)
    done_before: int = 0


def read_plan(workflow: Any) -> RunPlan:
    """Read the jobs of a run from Snakemake.

    Args:
        workflow: Snakemake's `Workflow`, after planning.
    """
    plan, whole = RunPlan(), dict[StageKey, int]()
    dag = workflow.dag
    to_run = {job for job in dag.needrun_jobs() if job.output}  # without target rules
    for source in (job for job in dag.jobs if job.output):
        stage = stage_key(source.name, subject_of(source), source.wildcards_dict)
        whole[stage] = whole.get(stage, 0) + 1
        if source not in to_run:
            plan.done_before += 1
            continue
        after = (before for before in dag.job_dependencies(source) if before in to_run)
        job = _run_job(source, stage, tuple(before.jobid for before in after))
        plan.jobs[job.key] = job
        part_of = plan.stages.setdefault(stage, Stage())
        part_of.jobs.append(job)
        part_of.left.add(job.key)
        if job.rule not in plan.shares:
            plan.shares[job.rule] = _share(source, workflow.resource_settings)
    for key, part_of in plan.stages.items():
        part_of.whole = whole[key]
    return plan


def _run_job(source: Any, stage: StageKey, after: tuple[int, ...]) -> RunJob:
    log = next((Path(path) for path in source.log), None)
    pages = tuple(file for file in map(str, source.output) if _PAGE.fullmatch(file))
    subject, chunk = subject_of(source), source.wildcards_dict.get("chunk")
    return RunJob(source, source.jobid, source.name, subject, chunk, stage, log, pages, after)


def stage_key(rule: str, subject: str | None, wildcards: Mapping[str, str]) -> StageKey:
    """Rule, subject, and the other wildcards without the chunk."""
    known = ("subject", "refused", "chunk")
    return (rule, subject or SHARED, *(v for k, v in wildcards.items() if k not in known))


def _share(job: Any, settings: Any) -> float:
    """Fraction of the run's cores, else of its concurrent jobs, that a job occupies."""
    if not settings.cores:
        return 1 / (settings.nodes or 1)
    return min(1.0, job.threads / settings.cores)
