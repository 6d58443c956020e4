"""Check, once after installation, what pip cannot install: `python -m headsplat.system_check`."""

import importlib
import shutil
import sys

_NEEDS = (
    ("cv2", "libGL.so.1 and libglib (Debian: apt-get install libgl1 libglib2.0-0)"),
    ("mediapipe", "libGL.so.1, libEGL.so.1 (Debian: apt-get install libgl1 libegl1)"),
    ("torch", "a working torch wheel; install requirements.lock again"),
    ("av", "a working av wheel; install requirements.lock again"),
)


def main() -> int:
    """Import what wheels link against; print one line per failure; 0 when all is well."""
    failures = []
    for module, cure in _NEEDS:
        try:
            importlib.import_module(module)
        except (ImportError, OSError) as error:
            failures.append(f"error: {module} does not load ({error}); it needs {cure}")
    if shutil.which("c++") is None:
        failures.append("error: no C++ compiler; install g++ (Debian: apt-get install g++)")
    print("\n".join(failures) if failures else "system check: all libraries load")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
