"""Create, check or complete the checkout's virtual environment.

It contains the packages of requirements.lock and the library itself, installed editable. This
script uses only the standard library, because it runs before anything is installed. `make setup`
runs it with the environment's own Python and `--check`, and with the machine's Python to install
what is missing.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

VERSION = (3, 11)
SCRIPTS = ("snakemake", "snakefmt", "pytest", "pip", "headsplat")
LOCK, PROJECT, STAMP = Path("requirements.lock"), Path("pyproject.toml"), "ready"
UNFINISHED, WRONG = 3, 4  # exit statuses of `--check`


def check(venv: Path) -> int:
    """Exit status 0 if this Python belongs to a complete environment at `venv`; else prints why."""
    if sys.version_info[:2] != VERSION:
        print(f"it has Python {sys.version_info[0]}.{sys.version_info[1]}")
        return WRONG
    if not venv.is_dir() or not Path(sys.prefix).samefile(venv):
        print("it is incomplete")
        return WRONG
    finished = _stamp(venv) == _wanted()
    for name in SCRIPTS:
        script = venv / "bin" / name
        starts = _interpreter(script)
        if starts is None and not finished:
            continue
        if starts is None or not starts.exists() or not starts.parent.samefile(venv / "bin"):
            print(f"its {name} " + (f"starts {starts}" if starts else "is gone"))
            return WRONG
    return 0 if finished else UNFINISHED


def _interpreter(script: Path) -> Path | None:
    """The interpreter of a console script; pip puts long paths, or with spaces, in line two."""
    try:
        first, second, *_ = script.read_text().split("\n", 2)
    except (OSError, ValueError):
        return None
    if first == "#!/bin/sh":
        return Path(second.split('"')[1]) if second.count('"') > 1 else None
    return Path(first.removeprefix("#!"))


def _wanted() -> str:
    """Hash of what should be installed: the lock file and pyproject.toml."""
    return hashlib.sha256(LOCK.read_bytes() + PROJECT.read_bytes()).hexdigest()


def _stamp(venv: Path) -> str:
    try:
        return (venv / STAMP).read_text().strip()
    except OSError:
        return ""


def set_up(venv: Path) -> int:
    """Create or complete the environment; returns 0 on success."""
    python = venv / "bin" / "python"
    try:
        command = [python, "-I", __file__, "--check", venv]
        asked = subprocess.run(command, capture_output=True, text=True, check=False)
        status, reason = asked.returncode, asked.stdout.strip()
    except OSError:
        status, reason = WRONG, "its Python is gone"
    if status not in (0, UNFINISHED) and venv.is_dir():
        reason = reason or "its Python does not run"
        if venv.is_symlink():
            print(f"error: {venv} does not fit this checkout ({reason}); remove that link")
            return 1
        print(f"{venv} does not fit this checkout ({reason}): creating it again", flush=True)
        shutil.rmtree(venv)
    _remove_half_installed(venv)
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    packages = [*pip, "install", "--quiet", "-r", LOCK]
    # The library itself, editable, with its console command.
    library = [*pip, "install", "--quiet", "--no-deps", "--no-build-isolation", "--editable", "."]
    commands = [packages, library]
    if not venv.is_dir() or subprocess.run([*pip, "-V"], capture_output=True).returncode:
        commands.insert(0, [sys.executable, "-m", "venv", venv])
    print(
        f"installing the packages of {LOCK} into {venv} (about 2 GB); this takes some minutes",
        flush=True,
    )
    for command in commands:
        failed = subprocess.run(command, check=False).returncode
        if failed:
            print(f"error: {venv} could not be created; see above, and run the same command again")
            return 1
    system_check = [
        python,
        "-c",
        "from headsplat_workflow.system_check import main; raise SystemExit(main())",
    ]
    failed = subprocess.run(system_check, env=_environment(), check=False).returncode
    if not failed:
        (venv / STAMP).write_text(f"{_wanted()}\n")
    return failed


def _remove_half_installed(venv: Path) -> None:
    """Remove packages without INSTALLER, which pip writes last, so that pip installs them again."""
    for folder in venv.glob("lib/python*/site-packages/*.dist-info"):
        if not (folder / "INSTALLER").exists():
            shutil.rmtree(folder)


def _environment() -> dict[str, str]:
    scripts = Path(__file__).resolve().parents[1]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(scripts.parent), str(scripts)])}


if __name__ == "__main__":
    where = Path(sys.argv[-1])
    sys.exit(check(where) if sys.argv[1] == "--check" else set_up(where))
