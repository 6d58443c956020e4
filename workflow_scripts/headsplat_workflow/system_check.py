"""Check, after installation, that all loads, and the C++ compiler that pip cannot install."""

import importlib
import importlib.util
import py_compile
import sys
from pathlib import Path

from headsplat.doctor.finding import FAILS
from headsplat.doctor.software import check_cxx, check_libraries

SCRIPTS = Path(__file__).resolve().parents[1]


def main() -> int:
    """Load libraries and stages, and compile a test program; returns 0 if all work.

    What was loaded is compiled to byte code, so that a run's processes start fast.
    """
    failures = [found.line for check in (check_libraries, check_cxx) for found in check()
                if found.state == FAILS]  # fmt: skip
    for line in failures:
        print(f"error: {line}")
    if failures:
        return 1
    for script in sorted(SCRIPTS.glob("*.py")):
        importlib.import_module(script.stem)
    _compile_loaded()
    print("system check: all libraries and stages load, and the compiler works")
    return 0


def _compile_loaded() -> None:
    """Write the byte code of the environment's loaded modules that have none."""
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if file is None or not file.endswith(".py") or not Path(file).is_relative_to(sys.prefix):
            continue
        if not Path(importlib.util.cache_from_source(file)).exists():
            py_compile.compile(file)


if __name__ == "__main__":
    sys.exit(main())
