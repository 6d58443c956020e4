"""The rows of the table of subjects."""

from collections.abc import Iterator

from headsplat_workflow.config import Subjects

from headsplat.doctor.finding import Finding, fails, ok, warning


def check_subjects(subjects: Subjects) -> Iterator[Finding]:
    """Each can be used; a run goes on without those that cannot."""
    worse = warning if subjects else fails
    for name, line in subjects.refused.items():
        yield worse(f"subject {name}", line, f"correct {subjects.table}")
    if subjects:
        yield ok("subjects", f"{len(subjects)} rows of {subjects.table} can be used")
