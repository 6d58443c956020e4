"""The run lock: one holder, dropped by any death, and a warning where there are no locks."""

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from headsplat_workflow import runlock

from headsplat.runtime.errors import UserError
from tests.conftest import PYTHON_PATH

HOLD = (
    "from headsplat_workflow import runlock; runlock.hold('run.lock'); "
    "print('held', flush=True); input()"
)


def holder(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": PYTHON_PATH},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_holder_is_refused_until_the_first_dies(tmp_path: Path) -> None:
    first = holder(tmp_path)
    try:
        with pytest.raises(UserError, match=rf"another run \(pid {first.pid}\) is using"):
            runlock.hold(tmp_path / "run.lock")
    finally:
        first.kill()
        first.communicate()
    holder(tmp_path).communicate("\n", timeout=30)


def test_without_locks_a_warning_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # No file system without locks can be mounted here; NFS without its lock service says this.
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    runlock.hold(tmp_path / "run.lock")
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "run.lock cannot be locked on this file system (No locks available)" in said
    assert (tmp_path / "run.lock").read_text() == str(os.getpid())
