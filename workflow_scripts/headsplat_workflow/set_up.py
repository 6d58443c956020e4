"""The checkout's virtual environment: checked in a moment, completed or made again where wrong.

Needs nothing but Python, because it runs before anything is installed: `make setup` asks the
environment's own Python with `--check`, and lets the machine's Python do what is missing.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

VERSION = (3, 11)
SCRIPTS = ("snakemake", "snakefmt", "pytest", "pip")
LOCK, STAMP = Path("requirements.lock"), "ready"
UNFINISHED, WRONG = 3, 4  # exit statuses of `--check`


def check(venv: Path) -> int:
    """Whether this Python is that of a finished environment at `venv`; says what is wrong."""
    if sys.version_info[:2] != VERSION:
        print(f"it has Python {sys.version_info[0]}.{sys.version_info[1]}")
        return WRONG
    if not venv.is_dir() or not Path(sys.prefix).samefile(venv):
        print("it is not whole")
        return WRONG
    finished = _stamp(venv) == _lock()
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
    """What a script of pip's starts; a long path, or one with spaces, is in the second line."""
    try:
        first, second, *_ = script.read_text().split("\n", 2)
    except (OSError, ValueError):
        return None
    if first == "#!/bin/sh":
        return Path(second.split('"')[1]) if second.count('"') > 1 else None
    return Path(first.removeprefix("#!"))


def _lock() -> str:
    return hashlib.sha256(LOCK.read_bytes()).hexdigest()


def _stamp(venv: Path) -> str:
    try:
        return (venv / STAMP).read_text().strip()
    except OSError:
        return ""


def set_up(venv: Path) -> int:
    """Make the environment, or what is missing of it; 0 when it is whole."""
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
        print(f"{venv} does not fit this checkout ({reason}): making it anew", flush=True)
        shutil.rmtree(venv)
    _forget_half_installed(venv)
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    commands = [[*pip, "install", "--quiet", "-r", LOCK]]
    if not venv.is_dir() or subprocess.run([*pip, "-V"], capture_output=True).returncode:
        commands.insert(0, [sys.executable, "-m", "venv", venv])
    print(f"installing the packages of {LOCK} into {venv} (about 2 GB): some minutes", flush=True)
    for command in commands:
        failed = subprocess.run(command, check=False).returncode
        if failed:
            print(f"error: {venv} could not be made; see above, and run the same command again")
            return 1
    looked = [
        python,
        "-c",
        "from headsplat_workflow.system_check import main; raise SystemExit(main())",
    ]
    failed = subprocess.run(looked, env=_environment(), check=False).returncode
    if not failed:
        (venv / STAMP).write_text(f"{_lock()}\n")
    return failed


def _forget_half_installed(venv: Path) -> None:
    """Let pip install anew what it was killed in: its mark, written last, is missing."""
    for folder in venv.glob("lib/python*/site-packages/*.dist-info"):
        if not (folder / "INSTALLER").exists():
            shutil.rmtree(folder)


def _environment() -> dict[str, str]:
    scripts = Path(__file__).resolve().parents[1]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(scripts.parent), str(scripts)])}


if __name__ == "__main__":
    where = Path(sys.argv[-1])
    sys.exit(check(where) if sys.argv[1] == "--check" else set_up(where))
