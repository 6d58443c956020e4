"""The files that do not come with headsplat."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from headsplat_workflow.assets.check import RECORD
from headsplat_workflow.assets.needs import Need, problem
from headsplat_workflow.assets.verify import HashRecord

from headsplat.doctor.finding import Finding, fails, ok


def check_files(needs: Sequence[Need], record_path: Path = RECORD) -> Iterator[Finding]:
    """Required ones are there, and none is another file than its name says."""
    record = HashRecord(record_path)
    good, absent = 0, 0
    for need in needs:
        trouble = problem(need, record)
        if trouble is not None:
            says, _, cure = trouble.partition("; ")
            yield fails(f"asset {need.key}", f"{need.path}: {says}", cure or "fetch it again")
        elif need.found:
            good += 1
        else:
            absent += 1
    record.save()
    yield ok("assets", f"{good} present; {absent} optional ones absent (assets_check lists them)")
