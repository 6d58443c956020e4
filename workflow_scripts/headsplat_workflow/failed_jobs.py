"""A job that failed or was stopped is not booked as done.

Snakemake 9.27 records the parameters of a failed job as those of its output, and removes the
output. Where results further down stand from an earlier run with other parameters, the next run
would then find nothing to do, and they would pass for current. Without that record the job still
has its last successful one, differs from it, and runs again.
"""

from typing import Any

from snakemake.jobs import Job


def install() -> None:
    """Keep Snakemake from recording jobs that failed, in this process."""
    book = Job.postprocess

    async def postprocess(self: Job, *arguments: Any, error: bool = False, **options: Any) -> None:
        persistence = self.dag.workflow.persistence
        if error:
            persistence.finished = _book_nothing
        try:
            await book(self, *arguments, error=error, **options)
        finally:
            vars(persistence).pop("finished", None)

    Job.postprocess = postprocess


async def _book_nothing(job: Job) -> None:
    """In the place of the method that records a job."""
