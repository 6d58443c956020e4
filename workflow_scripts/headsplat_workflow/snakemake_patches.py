"""Patches of Snakemake's methods, and the range of versions that they were written for.

`install` applies two patches:

- `literal` inputs keep their braces. Snakemake treats what an input function returns as a pattern
  with wildcards, and has no way to escape a brace.
- The parameters of failed jobs are not recorded. Snakemake 9.27 records them as those of the
  output, and removes the output. If results further down exist from a run with other parameters,
  the next run would find nothing to do. Without that record the job differs from its last
  successful one and runs again.

`refusals` and `shutdown` patch Snakemake too, and `dag` reads the jobs that it planned.
`tests/unit/test_snakemake_patches.py` compares all patched methods with those of this version.
"""

from typing import Any

import snakemake.io
from packaging.version import Version
from snakemake.common import __version__
from snakemake.io import flag
from snakemake.jobs import Job

from headsplat.runtime.errors import UserError

# Supported versions: from FIRST, inclusive, to BEYOND, exclusive.
FIRST, BEYOND = "9.27.1", "9.28"
_LITERAL = "literal"


def require_version(version: str = __version__) -> None:
    """Reject versions of Snakemake that the patches were not written for.

    Raises:
        UserError: the version is out of range.
    """
    if not Version(FIRST) <= Version(version) < Version(BEYOND):
        raise UserError(
            f"Snakemake {version} is not supported, only {FIRST} and later ones before {BEYOND}; "
            f"run: pip install snakemake=={FIRST}"
        )


def install() -> None:
    """Apply the patches in this process."""
    _patch_wildcards()
    _patch_records()


def literal(path: str) -> Any:
    """An input path in which braces are not wildcards."""
    return flag(path, _LITERAL)


def _patch_wildcards() -> None:
    fill = snakemake.io.apply_wildcards

    def apply_wildcards(pattern: str, wildcards: Any) -> str:
        flags = getattr(pattern, "flags", None)  # most patterns are plain strings
        return pattern if flags and flags.get(_LITERAL) else fill(pattern, wildcards)

    snakemake.io.apply_wildcards = apply_wildcards


def _patch_records() -> None:
    original = Job.postprocess

    async def postprocess(self: Job, *arguments: Any, error: bool = False, **options: Any) -> None:
        persistence = self.dag.workflow.persistence
        if error:
            persistence.finished = _record_nothing
        try:
            await original(self, *arguments, error=error, **options)
        finally:
            vars(persistence).pop("finished", None)

    Job.postprocess = postprocess


async def _record_nothing(job: Job) -> None:
    """Replacement of the method that records a job's parameters."""
