"""The run lock has one holder, and files dated in the future are rejected."""

import errno
import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headsplat_workflow.run_checks import hold_run_lock, require_past

from headsplat.runtime.errors import UserError
from tests.conftest import PYTHON_PATH

HOLD = (
    "from headsplat_workflow.run_checks import hold_run_lock; hold_run_lock('run.lock'); "
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
            hold_run_lock(tmp_path / "run.lock")
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
    hold_run_lock(tmp_path / "run.lock")
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "run.lock cannot be locked on this file system (No locks available)" in said
    assert (tmp_path / "run.lock").read_text() == str(os.getpid())


def test_only_files_dated_in_the_future_are_refused(tmp_path: Path) -> None:
    video = tmp_path / "me.mp4"
    video.touch()
    require_past([video, tmp_path / "not there"])
    later = time.time() + 86400
    os.utime(video, (later, later))
    with pytest.raises(
        UserError, match=r"me.mp4: dated 20\d\d-.*in the future; .*'touch "
    ) as caught:
        require_past([video])
    assert "\n" not in str(caught.value)
