"""Run the doctor's checks with a time limit and print a table of findings."""

import threading
import time
from collections.abc import Callable, Iterator

from headsplat.doctor.finding import FAILS, OK, WARNING, Finding, fails, warning
from headsplat.doctor.machine import check_machine
from headsplat.doctor.software import check_cxx, check_libraries
from headsplat.runtime.errors import UserError

# Seconds for all checks together.
PATIENCE = 16.0
_WIDTH = 22

Check = Callable[[], Iterator[Finding]]


# Imported late, like the three below: a library that fails to load is a finding of its check.
def _gpus() -> Iterator[Finding]:
    from headsplat.doctor.gpu import check_gpus

    return check_gpus()


def _operators() -> Iterator[Finding]:
    from headsplat.doctor.operators import check_operators

    return check_operators()


def _onnx() -> Iterator[Finding]:
    from headsplat.doctor.networks import check_onnx

    return check_onnx()


def _detector() -> Iterator[Finding]:
    from headsplat.doctor.networks import check_detector

    return check_detector()


# Checks of the library, independent of the workflow.
LIBRARY_CHECKS: dict[str, Check] = {
    "machine": check_machine,
    "C++ compiler": check_cxx,
    "libraries": check_libraries,
    "GPU": _gpus,
    "operators": _operators,
    "ONNX Runtime": _onnx,
    "face detector": _detector,
}


def examine(checks: dict[str, Check], patience: float = PATIENCE) -> list[Finding]:
    """Run checks and print each finding as a table row as soon as it is known.

    Args:
        checks: name -> check.
        patience: seconds for all of them together.

    Raises:
        UserError: a required check fails; one line each.
    """
    deadline = time.monotonic() + patience
    found: list[Finding] = []
    for what, check in checks.items():
        for finding in _limited(what, check, deadline):
            print(f"{finding.what:<{_WIDTH}}  {finding.state:<7}  {finding.says}", flush=True)
            found.append(finding)
    for finding in found:
        if finding.state == WARNING:
            print(f"warning: {finding.line}", flush=True)
    broken = [finding.line for finding in found if finding.state == FAILS]
    if broken:
        raise UserError(*broken)
    good = sum(finding.state == OK for finding in found)
    print(f"{good} of {len(found)} are well; headsplat can run", flush=True)
    return found


def _limited(what: str, check: Check, deadline: float) -> list[Finding]:
    """Findings of one check; it may raise, or hang, as drivers and network disks do."""
    found: list[Finding] = []

    def run() -> None:
        try:
            found.extend(check())
        except Exception as error:  # any error; the other checks continue
            found.append(fails(what, f"{type(error).__name__}: {error}", "install it again"))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(max(0.5, deadline - time.monotonic()))
    if thread.is_alive():
        fix = "look at the machine's load, the driver and the disks, and ask again"
        found = [*found, warning(what, "no answer in time", fix)]
    return found
