"""Run every benchmark that needs no GPU, one after the other: `python -m benchmarks`."""

import subprocess
import sys
from pathlib import Path

SCRIPTS = ("rasterizer", "demo", "detection", "tracking", "training", "frames", "masks")


def main() -> int:
    folder = Path(__file__).parent
    failed = []
    for name in SCRIPTS:
        print(f"\n== {name}", flush=True)
        if subprocess.run([sys.executable, folder / f"{name}.py"]).returncode:
            failed.append(name)
    if failed:
        print(f"error: failed: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
