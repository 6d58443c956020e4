"""All checks in order, each under a watch: what hangs is a finding too."""

import threading
import time
from collections.abc import Callable, Iterator

from headsplat.doctor.finding import FAILS, OK, WARNING, Finding, fails, warning
from headsplat.runtime.errors import UserError

# Seconds for all checks together.
PATIENCE = 16.0
_WIDTH = 22

Check = Callable[[], Iterator[Finding]]


def examine(checks: dict[str, Check], patience: float = PATIENCE) -> list[Finding]:
    """Run checks, and print each finding as a row of a table when it is known.

    Args:
        checks: what is looked at -> the check.
        patience: seconds for all of them together.

    Raises:
        UserError: something that a run needs fails; one line each.
    """
    end = time.monotonic() + patience
    found: list[Finding] = []
    for what, check in checks.items():
        for finding in _watched(what, check, end):
            print(f"{finding.what:<{_WIDTH}}  {finding.state:<7}  {finding.says}", flush=True)
            found.append(finding)
    for finding in found:
        if finding.state == WARNING:
            print(f"warning: {finding.line}", flush=True)
    broken = [finding.line for finding in found if finding.state == FAILS]
    if broken:
        raise UserError(*broken)
    good = sum(finding.state == OK for finding in found)
    print(f"{good} of {len(found)} are well; a run can start", flush=True)
    return found


def _watched(what: str, check: Check, end: float) -> list[Finding]:
    """Findings of one check, which may hang as drivers and network disks do, or break."""
    found: list[Finding] = []

    def run() -> None:
        try:
            found.extend(check())
        except Exception as error:  # whatever it is, the other checks go on
            found.append(fails(what, f"{type(error).__name__}: {error}", "install it anew"))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(max(0.5, end - time.monotonic()))
    if thread.is_alive():
        cure = "look at the machine's load, the driver and the disks, and ask again"
        found = [*found, warning(what, "no answer in time", cure)]
    return found
