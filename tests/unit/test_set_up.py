"""Whether `make setup` sees at a glance that the environment is right; `tests/slow` makes some."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

SCRIPTS = ("snakemake", "snakefmt", "pytest", "pip")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in a folder with a space, with an environment of which only the scripts count."""
    folder = tmp_path / "my checkouts" / "headsplat"
    (folder / "workflow_scripts/headsplat_workflow").mkdir(parents=True)
    for name in ("Makefile", "requirements.lock", "workflow_scripts/headsplat_workflow/set_up.py"):
        shutil.copy(ROOT / name, folder / name)
    venv = folder / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    for name in SCRIPTS:
        # As pip writes them where the path has a space.
        text = f"#!/bin/sh\n'''exec' \"{venv}/bin/python\" \"$0\" \"$@\"\n' '''\npass\n"
        (venv / "bin" / name).write_text(text)
    lock = (folder / "requirements.lock").read_bytes()
    (venv / "ready").write_text(hashlib.sha256(lock).hexdigest() + "\n")
    return folder


def run_make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """As from a shell: without what a `make` that runs the tests hands down."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


def is_ready(folder: Path) -> bool:
    """Whether nothing is to be done; what is to be done fails, for want of a Python to do it."""
    result = run_make(folder, "setup", "PYTHON=/nowhere/python3.11")
    if result.returncode:
        assert "error: /nowhere/python3.11 is not installed" in result.stdout
    else:
        assert result.stdout + result.stderr == ""
    return result.returncode == 0


def test_a_right_environment_is_left_alone(checkout: Path) -> None:
    assert is_ready(checkout)
    dry = run_make(checkout, "-n", "demo")
    assert dry.returncode == 0
    assert ".venv/bin/snakemake --cores all demo" in dry.stdout


def test_short_paths_stand_in_the_first_line(checkout: Path) -> None:
    for name in SCRIPTS:
        (checkout / ".venv/bin" / name).write_text(f"#!{checkout}/.venv/bin/python\npass\n")
    assert is_ready(checkout)


def test_a_link_to_the_environment_is_right(checkout: Path) -> None:
    (checkout / ".venv").rename(checkout.parent / "shared")
    (checkout / ".venv").symlink_to(checkout.parent / "shared")
    assert is_ready(checkout)


def moved(folder: Path) -> Path:
    return folder.rename(folder.parent / "elsewhere")


def copied(folder: Path) -> Path:
    return Path(shutil.copytree(folder, folder.parent / "copy", symlinks=True))


def another_lock(folder: Path) -> Path:
    with open(folder / "requirements.lock", "a") as lock:
        lock.write("more==1.0\n")
    return folder


def without(name: str):
    def remove(folder: Path) -> Path:
        path = folder / ".venv" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        return folder

    return remove


def another_python(folder: Path) -> Path:
    for name in ("python", "python3", "python3.11"):
        path = folder / ".venv/bin" / name
        path.unlink(missing_ok=True)
        path.symlink_to("/bin/false")
    return folder


@pytest.mark.parametrize(
    "change",
    [moved, copied, another_lock, another_python, without("ready"), without("bin/snakemake"),
     without("bin/python"), without("pyvenv.cfg"), without("bin")],
)  # fmt: skip
def test_what_is_not_right_is_noticed(checkout: Path, change) -> None:
    assert not is_ready(change(checkout))
