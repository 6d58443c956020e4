"""The table of a configuration's assets, and the check before a run's first job."""

from collections.abc import Sequence
from pathlib import Path

from headsplat_workflow.assets.needs import Need, problem
from headsplat_workflow.assets.verify import HashRecord

from headsplat.runtime.errors import UserError

RECORD = Path("work/assets.json")


def check_assets(needs: Sequence[Need], record_path: Path) -> str:
    """The table of assets, one line each; files are verified by hash.

    Raises:
        UserError: required assets are missing, or some are not what their name says; one line
            each. The table is printed before.
    """
    record = HashRecord(record_path)
    rows, failures = [("asset", "state", "file")], []
    for need in needs:
        trouble = problem(need, record)
        state = "present" if need.found else "absent, optional"
        if trouble is not None:
            failures.append(f"{need.path}: {trouble}")
            state = "WRONG" if need.found else "MISSING"
        where = str(need.path) if need.found or trouble else f"{need.path}: {need.remedy}"
        rows.append((need.key, state, where))
    record.save()
    first, second = (max(len(row[k]) for row in rows) for k in (0, 1))
    text = "\n".join(f"{a:<{first}}  {b:<{second}}  {c}" for a, b, c in rows)
    if failures:
        print(text, flush=True)
        raise UserError(*failures)
    return text


def verify_used(used: Sequence[Need], record_path: Path = RECORD) -> None:
    """Hold the hashes of the assets of a run against the published or recorded ones.

    Raises:
        UserError: one line for each that differs.
    """
    if not used:
        return
    record = HashRecord(record_path)
    troubles = [(need, problem(need, record)) for need in used]
    record.save()
    failures = [f"{need.path}: {trouble}" for need, trouble in troubles if trouble is not None]
    if failures:
        raise UserError(*failures)
