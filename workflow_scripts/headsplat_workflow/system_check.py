"""Check, after installation, the system libraries and the C++ compiler that pip cannot install."""

import sys

from headsplat.doctor.finding import FAILS
from headsplat.doctor.software import check_cxx, check_libraries


def main() -> int:
    """Load the system libraries and compile a test program; returns 0 if both work."""
    failures = [found.line for check in (check_libraries, check_cxx) for found in check()
                if found.state == FAILS]  # fmt: skip
    for line in failures:
        print(f"error: {line}")
    if not failures:
        print("system check: all libraries load, and the compiler works")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
