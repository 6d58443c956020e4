"""Write requirements.lock and the files beside it from pyproject.toml: exact pins with hashes.

Needs `uv` and a package index. One file serves every Python and machine, by markers. Pins that
are there stay while they fit; `--upgrade` takes the newest releases.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

LOCK, PROJECT = Path("requirements.lock"), Path("pyproject.toml")
# PyTorch has builds for the CPU and for each CUDA, so its file has a version and no hash.
TORCH = Path("requirements-torch.txt")
OF_THE_LOCK = "build"  # the group of pyproject.toml that requirements.lock contains
HEADS = {
    "dev": "tests and lint; `make test` and `make lint` install it",
    "docs": "`make docs`, which installs it",
    "kubernetes": "`--profile profiles/kubernetes`",
    "slurm": "`--profile profiles/slurm`",
    "storage": "results in a bucket or on another disk",
}
# One version of a package for all Pythons from the oldest on; the files name no index and no torch.
OPTIONS = (
    "--universal", "--generate-hashes", "--python-version=3.11", "--fork-strategy=fewest",
    "--no-emit-package=torch", "--no-annotate", "--no-header", "--no-emit-index-url",
)  # fmt: skip
_PIN = re.compile(r"([A-Za-z0-9][\w.-]*)==")


def blocks(text: str) -> list[tuple[str, str]]:
    """(package, lines of its pin and hashes) of a requirements file."""
    found: list[tuple[str, str]] = []
    for line in text.splitlines(keepends=True):
        start = _PIN.match(line)
        if start is not None:
            found.append((re.sub(r"[-_.]+", "-", start[1]).lower(), line))
        elif found and line.startswith(" "):
            found[-1] = (found[-1][0], found[-1][1] + line)
    return found


def write(path: Path, head: str, sources: list[str], arguments: list[str]) -> None:
    """Resolve `sources` and write their pins, less those of requirements.lock, to `path`."""
    changes = tomllib.loads(PROJECT.read_text())["tool"]["headsplat"]["lock"]
    present = set() if path == LOCK else {name for name, _ in blocks(LOCK.read_text())}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, path.name)
        if path.exists():
            out.write_text(path.read_text())  # whose pins uv keeps
        command = ["uv", "pip", "compile", "--quiet", *OPTIONS, f"--output-file={out}"]
        # Not as settings of uv, which would count when it installs as well.
        for kind, lines in changes.items():
            file = Path(folder, kind)
            file.write_text("\n".join(lines) + "\n")
            command.append(f"--{kind}={file}")
        command += [f"--constraints={TORCH}", *sources, *arguments]
        if subprocess.run(command, check=False).returncode:
            sys.exit(f"error: {path} could not be resolved, see above; it stays as it was")
        pins = [text for name, text in blocks(out.read_text()) if name not in present]
    path.write_text(f"# Written by `make lock`. {head}\n" + "".join(pins))
    print(f"{path}: {len(pins)} pins")


def main(arguments: list[str]) -> None:
    """Write every file; `arguments` go to uv."""
    if shutil.which("uv") is None:
        sys.exit(
            "error: uv, which writes the pins, is not installed; bring it with: pipx install uv"
        )
    groups = tomllib.loads(PROJECT.read_text())["dependency-groups"]
    head = "What runs, but PyTorch (requirements-torch.txt). `make setup` installs it."
    lock = [str(PROJECT), "--extra=workflow", f"--group={OF_THE_LOCK}"]
    write(LOCK, head, lock, arguments)
    for group in sorted(groups.keys() - {OF_THE_LOCK}):
        name = Path(f"requirements-{group}.txt")
        head = (
            f"Beside requirements.lock, for {HEADS[group]}: "
            f".venv/bin/pip install --no-deps -r {name}"
        )
        beside = [*lock, f"--group={group}", f"--constraints={LOCK}"]
        write(name, head, beside, arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
