"""Plan a run with a Snakemake dry run in this process, and list the jobs that would run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from snakemake.api import SnakemakeApi
from snakemake.settings.enums import Quietness
from snakemake.settings.types import (
    ConfigSettings,
    DAGSettings,
    DeploymentMethod,
    DeploymentSettings,
    ExecutionSettings,
    OutputSettings,
    ResourceSettings,
)  # fmt: skip

from headsplat_workflow.codehash import ROOT
from headsplat_workflow.reasons import explain
from headsplat_workflow.refusals import subject_of

from headsplat.runtime.errors import UserError


@dataclass(frozen=True)
class PlannedJob:
    """One job that would run.

    Attributes:
        rule: its name.
        subject: None for jobs that all subjects share.
        why: reasons, the most specific first; empty if it only follows from upstream jobs.
        after: rules of its direct upstream jobs that would run.
    """

    rule: str
    subject: str | None
    why: tuple[str, ...]
    after: frozenset[str]


@dataclass(frozen=True)
class Plan:
    """The jobs that would run, and the number of those that are up to date.

    Attributes:
        jobs: that would run.
        kept: (subject or None, rule) -> number of jobs that are up to date.
    """

    jobs: list[PlannedJob]
    kept: dict[tuple[str | None, str], int]


def plan_run(config: Mapping[str, Any], deployment: Sequence[str]) -> Plan:
    """Plan the default target in the working folder.

    Args:
        config: the whole configuration of the run.
        deployment: software deployment methods of the run, as `--sdm` takes them.

    Raises:
        UserError: Snakemake cannot plan; its own message has been printed.
    """
    # With these two, a dry run formats no job descriptions.
    quiet = {Quietness.RULES, Quietness.PROGRESS}
    output = OutputSettings(dryrun=True, quiet=quiet, enable_file_logging=False)
    methods = frozenset(DeploymentMethod.parse_choice(name) for name in deployment)
    with SnakemakeApi(output) as api:
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=1),
            config_settings=ConfigSettings(config=config),
            deployment_settings=DeploymentSettings(deployment_method=methods),
            snakefile=ROOT / "Snakefile",
        )
        try:
            dag = workflow.dag(DAGSettings(force_incomplete=True))
            dag.execute_workflow(
                executor="dryrun", execution_settings=ExecutionSettings(lock=False)
            )
        except SystemExit as end:
            if end.code != 1:  # exit status of a dry run with refused rows, which the plan lists
                raise
        except Exception as error:
            api.print_exception(error)
            raise UserError("the run cannot be planned") from error
        return _read(workflow._workflow.dag)


def _read(dag: Any) -> Plan:
    jobs, kept = [], {}
    needed = set(dag.needrun_jobs(exclude_finished=False))
    for job in dag.jobs:
        subject = subject_of(job)
        if not job.rule.has_products():
            continue  # a target
        if job in needed:
            after = frozenset(b.rule.name for b in dag.dependencies[job] if b in needed)
            jobs.append(PlannedJob(job.rule.name, subject, explain(job, dag.reason(job)), after))
        else:
            kept[subject, job.rule.name] = kept.get((subject, job.rule.name), 0) + 1
    return Plan(jobs, kept)
