"""Rows of the tables that cannot be used, as jobs that fail with one line each.

So a bad row fails as a subject does whose video is broken: the others go on, the run's end says
which and why, and its exit status is 1. The file of such a job is never made.
"""

import re
import sys
from dataclasses import replace
from typing import Any

FOLDER, RULE = "work/.refused", "refuse"
# What the wildcard of the rule matches: `subject-anna`, `motion-talk`, `video-anna.talk`.
NAME = r"(subject|motion|video)-[A-Za-z0-9_.-]+"
SUBJECT, MOTION, VIDEO = "subject", "motion", "video"
_OF_SUBJECT = re.compile(r"(?:\./)?(?:work|results)/([^/]+)(?:/.*)?")
_OF_MOTION = re.compile(r"(?:\./)?results/[^/]+/driven/([^/]+)\.mp4")


class Refusals(dict[str, str]):
    """Name of a refusal -> the line that says what is wrong and where."""

    def file(self, kind: str, name: str, line: str) -> str:
        """The input, never made, of a job that must fail; its line is noted under kind and name."""
        self.setdefault(f"{kind}-{name}", line)
        return f"{FOLDER}/{kind}-{name}"

    def instead(self, target: str) -> str:
        """What to ask for instead of a file of a refused subject or motion; else the target."""
        for kind, pattern in ((SUBJECT, _OF_SUBJECT), (MOTION, _OF_MOTION)):
            found = pattern.fullmatch(target)
            if found and f"{kind}-{found[1]}" in self:
                return f"{FOLDER}/{kind}-{found[1]}"
        return target

    def install(self, workflow: Any) -> None:
        """Let a run ask for refusals, say their lines once it is planned, and fail by them.

        Args:
            workflow: Snakemake's object of that name.
        """
        prepare, build, execute = workflow._prepare_dag, workflow._build_dag, workflow.execute

        def prepare_dag(*arguments: Any, **options: Any) -> None:
            settings = workflow.dag_settings
            targets = type(settings.targets)(map(self.instead, settings.targets))
            workflow.dag_settings = replace(settings, targets=targets)
            prepare(*arguments, **options)

        def build_dag() -> None:
            build()
            asked = _asked_for(workflow.dag)
            for name in filter(asked.__contains__, self):
                print(f"error: {self[name]}", file=sys.stderr, flush=True)

        def execute_all(*arguments: Any, **options: Any) -> None:
            execute(*arguments, **options)
            if workflow.dryrun and _asked_for(workflow.dag):
                sys.exit(1)  # as the run would

        workflow._prepare_dag, workflow._build_dag = prepare_dag, build_dag
        workflow.execute = execute_all


def _asked_for(dag: Any) -> set[str]:
    """Names of the refusals among Snakemake's jobs."""
    jobs = dag.needrun_jobs(exclude_finished=False)
    return {job.wildcards_dict["refused"] for job in jobs if job.rule.name == RULE}


def subject_of(job: Any) -> str | None:
    """The subject of one of Snakemake's jobs, a refused one too (or `motion talk`); or None."""
    wildcards = job.wildcards_dict
    if "refused" not in wildcards:
        return wildcards.get("subject")
    kind, _, name = wildcards["refused"].partition("-")
    return f"motion {name}" if kind == MOTION else name.partition(".")[0]
