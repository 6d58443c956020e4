"""Check, after installation, that all loads, and the C++ compiler that pip cannot install."""

import importlib
import sys
from pathlib import Path

from headsplat.doctor.finding import FAILS
from headsplat.doctor.software import check_cxx, check_libraries

SCRIPTS = Path(__file__).resolve().parents[1]


def main() -> int:
    """Load libraries and stages, and compile a test program; returns 0 if all work.

    Loading also writes the byte code of what a run uses, so that its processes start fast.
    """
    failures = [found.line for check in (check_libraries, check_cxx) for found in check()
                if found.state == FAILS]  # fmt: skip
    for line in failures:
        print(f"error: {line}")
    if failures:
        return 1
    for script in sorted(SCRIPTS.glob("*.py")):
        importlib.import_module(script.stem)
    print("system check: all libraries and stages load, and the compiler works")
    return 0


if __name__ == "__main__":
    sys.exit(main())
