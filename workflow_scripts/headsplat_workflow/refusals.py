"""Unusable table rows as Snakemake jobs that fail with one error line each.

A bad row then fails like a subject with a broken video: the others continue, the summary names it,
and the exit status is 1. The output file of such a job is never created.
"""

import re
import sys
from dataclasses import replace
from typing import Any

from headsplat.runtime.errors import shown
from headsplat.video.formats import FORMATS

FOLDER, RULE = "work/.refused", "refuse"
# Pattern of the rule's wildcard, e.g. `subject-anna`, `motion-talk`, `video-anna.talk`.
NAME = r"(subject|motion|video)-[A-Za-z0-9_.-]+"
SUBJECT, MOTION, VIDEO = "subject", "motion", "video"
_OF_SUBJECT = re.compile(r"(?:\./)?(?:work|results)/([^/]+)(?:/.*)?")
_SUFFIXES = "|".join(map(re.escape, FORMATS))
_DRIVEN = re.compile(r"(?:\./)?results/([^/]+)/driven/([^/]+)")
_OF_MOTION = re.compile(rf"(?:\./)?results/[^/]+/driven/([^/]+?)(?:{_SUFFIXES})")


class Refusals(dict[str, str]):
    """Name of a refusal -> error line with what is wrong and where."""

    def __init__(self) -> None:
        super().__init__()
        self._announced = set[str]()

    def file(self, kind: str, name: str, line: str) -> str:
        """Register an error line; returns the failing job's output path, for use as an input."""
        self.setdefault(f"{kind}-{name}", line)
        return f"{FOLDER}/{kind}-{name}"

    def redirect(self, target: str) -> str:
        """The failing job's path for a target of a refused row; else the target itself."""
        for kind, pattern in ((SUBJECT, _OF_SUBJECT), (MOTION, _OF_MOTION)):
            found = pattern.fullmatch(target)
            if found and f"{kind}-{found[1]}" in self:
                return f"{FOLDER}/{kind}-{found[1]}"
        found = _DRIVEN.fullmatch(target)
        if found and not target.endswith(tuple(FORMATS)):
            name = re.sub(r"[^A-Za-z0-9_.-]", "-", f"{found[1]}.{found[2]}")
            others = ", ".join(FORMATS)
            return self.file(
                VIDEO, name, f"{shown(target)}: driven videos end in {others}; ask for one of these"
            )
        return target

    def announce(self, name: str) -> None:
        """Print the error of a requested row, once."""
        if name not in self._announced:
            self._announced.add(name)
            print(f"error: {self[name]}", file=sys.stderr, flush=True)

    def install(self, workflow: Any) -> None:
        """Redirect targets of refused rows to their failing jobs, and make a dry run exit with 1.

        Args:
            workflow: Snakemake's `Workflow`.
        """
        execute = workflow.execute

        def execute_all(*arguments: Any, **options: Any) -> None:
            settings = workflow.dag_settings
            targets = type(settings.targets)(map(self.redirect, settings.targets))
            workflow.dag_settings = replace(settings, targets=targets)
            execute(*arguments, **options)
            if workflow.dryrun and _includes_refusal(workflow.dag):
                sys.exit(1)  # as the real run would

        workflow.execute = execute_all


def _includes_refusal(dag: Any) -> bool:
    """Whether the planned jobs include a refusal."""
    return any(job.rule.name == RULE for job in dag.needrun_jobs(exclude_finished=False))


def subject_of(job: Any) -> str | None:
    """The subject of a Snakemake job, also of a refused one (or `motion talk`); None if shared."""
    wildcards = job.wildcards_dict
    if "refused" not in wildcards:
        return wildcards.get("subject")
    kind, _, name = wildcards["refused"].partition("-")
    return f"motion {name}" if kind == MOTION else name.partition(".")[0]
