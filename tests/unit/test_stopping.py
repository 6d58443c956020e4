"""A stage that is told to stop: nothing half-written, no children left, status 143, in seconds."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headsplat.runtime import process, stopping
from tests.conftest import PYTHON_PATH

HEADER = """
import os, signal, subprocess, sys, time
from pathlib import Path
from headsplat_workflow.stage import stage
from headsplat.runtime.files import publish
from headsplat.runtime.stopping import Stopped, postponed
here = Path(sys.argv[1])
def ready():
    (here / "ready").touch()
"""
WRITES = """
def main():
    with publish(here / "out.txt") as path:
        path.write_text("half")
        ready()
        time.sleep(60)
stage(main)
"""


def start(folder: Path, code: str, **options) -> subprocess.Popen[str]:
    """Start a stage of some code, and wait until it says that it is ready."""
    environment = {**os.environ, "PYTHONPATH": PYTHON_PATH} | options.pop("env", {})
    child = subprocess.Popen(
        [sys.executable, "-c", HEADER + code, str(folder)],
        stderr=subprocess.PIPE, text=True, env=environment, **options,
    )  # fmt: skip
    end = time.monotonic() + 30
    while not (folder / "ready").exists():
        assert child.poll() is None, child.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.02)
    return child


@pytest.mark.parametrize("number", stopping.SIGNALS)
def test_a_stage_ends_at_once_and_leaves_nothing_half_written(tmp_path: Path, number) -> None:
    child = start(tmp_path, WRITES)
    asked = time.monotonic()
    child.send_signal(number)
    _, said = child.communicate(timeout=20)
    assert time.monotonic() - asked < 2
    assert child.returncode == stopping.STATUS
    assert said == "stopped; the same command continues\n"
    assert [path.name for path in tmp_path.iterdir()] == ["ready"]


def test_signals_in_quick_succession_are_one(tmp_path: Path) -> None:
    code = """
def main():
    try:
        ready()
        time.sleep(60)
    finally:
        time.sleep(1)
        (here / "tidied").touch()
stage(main)
"""
    child = start(tmp_path, code)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        child.send_signal(number)
        time.sleep(0.2)
    child.communicate(timeout=20)
    assert child.returncode == stopping.STATUS
    assert (tmp_path / "tidied").exists()


def test_a_stage_that_saves_is_given_the_time(tmp_path: Path) -> None:
    code = """
def main():
    with postponed() as asked:
        ready()
        while not asked():
            time.sleep(0.1)
        time.sleep(0.5)
        (here / "saved").write_text("all of it")
        raise Stopped
stage(main)
"""
    child = start(tmp_path, code)
    child.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=20)
    assert child.returncode == stopping.STATUS
    assert (tmp_path / "saved").read_text() == "all of it"


def test_who_finishes_instead_of_stopping_stops_behind_it(tmp_path: Path) -> None:
    code = """
def main():
    with postponed():
        ready()
        time.sleep(1)
    (here / "went on").touch()
stage(main)
"""
    child = start(tmp_path, code)
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=20)
    assert child.returncode == stopping.STATUS
    assert not (tmp_path / "went on").exists()


def test_the_kernel_ends_a_stage_that_does_not_end(tmp_path: Path) -> None:
    code = """
from headsplat.runtime import stopping
stopping.PATIENCE = 1
def main():
    with postponed():
        ready()
        while True:
            time.sleep(1)
stage(main)
"""
    child = start(tmp_path, code)
    asked = time.monotonic()
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=20)
    assert child.returncode == -signal.SIGALRM
    assert 0.5 < time.monotonic() - asked < 3


def test_what_the_stage_started_ends_with_it(tmp_path: Path) -> None:
    code = """
from concurrent.futures import ThreadPoolExecutor
from tests.conftest import PYTHON_PATH
def main():
    # As the operators are compiled: a driver that starts another process, from a thread.
    with ThreadPoolExecutor(1) as pool:
        compiling = pool.submit(subprocess.run, ["sh", "-c", "sleep 61; true"])
        time.sleep(0.3)
        ready()
        compiling.result()
stage(main)
"""
    child = start(tmp_path, code)
    below = process.descendants(child.pid)
    assert len(below) == 3, "the watchdog, the driver, and what that started"
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=20)
    alive = [pid for pid in below if _runs(pid)]
    assert not alive


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_ignored_signals_stay_ignored(tmp_path: Path) -> None:
    child = start(tmp_path, WRITES, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    child.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert child.poll() is None
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=20)
    assert child.returncode == stopping.STATUS


def test_a_stage_tells_its_workflow_and_nobody_else(tmp_path: Path) -> None:
    told: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))
    try:
        for parent, expected in ((os.getpid(), [signal.SIGTERM]), (1, [])):
            (tmp_path / "ready").unlink(missing_ok=True)
            child = start(tmp_path, WRITES, env={process.PARENT_VARIABLE: str(parent)})
            child.send_signal(signal.SIGINT)
            child.communicate(timeout=20)
            time.sleep(0.05)
            assert told == expected
            told.clear()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_process_that_is_no_stage_is_left_its_handlers() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(stopping.Stopped), stopping.postponed() as asked:  # noqa: PT012
        assert not asked()
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked()
    assert signal.alarm(0) == 0
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("reaped", [True, False])
def test_a_stage_whose_workflow_is_gone_does_not_begin(tmp_path: Path, reaped: bool) -> None:
    """Whoever adopted it: in many sessions that is not process 1."""
    workflow = subprocess.Popen(["true"])
    os.waitid(os.P_PID, workflow.pid, os.WEXITED | os.WNOWAIT)
    if reaped:
        workflow.wait()
    environment = {process.PARENT_VARIABLE: str(workflow.pid), "PYTHONPATH": PYTHON_PATH}
    command = [sys.executable, "-c", HEADER + "stage(ready)", str(tmp_path)]
    assert subprocess.run(command, env=os.environ | environment, timeout=30).returncode == 1
    assert not (tmp_path / "ready").exists()
    workflow.wait()


def test_a_stage_below_a_shell_of_its_workflow_begins(tmp_path: Path) -> None:
    environment = {process.PARENT_VARIABLE: str(os.getpid()), "PYTHONPATH": PYTHON_PATH}
    words = shlex.join([sys.executable, "-c", HEADER + "stage(ready)", str(tmp_path)])
    command = ["sh", "-c", f"{words}; exit $?"]
    assert subprocess.run(command, env=os.environ | environment, timeout=30).returncode == 0
    assert (tmp_path / "ready").exists()
