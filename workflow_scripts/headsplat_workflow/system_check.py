"""Check, once after installation, what pip cannot install."""

import sys

from headsplat.doctor.compilers import check_cxx
from headsplat.doctor.finding import OK
from headsplat.doctor.software import check_libraries


def main() -> int:
    """Load what wheels link against and compile a few lines; one line per failure, 0 when well."""
    failures = [found.line for check in (check_libraries, check_cxx) for found in check()
                if found.state != OK]  # fmt: skip
    for line in failures:
        print(f"error: {line}")
    if not failures:
        print("system check: all libraries load, and the compiler works")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
