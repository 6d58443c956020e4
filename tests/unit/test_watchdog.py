"""The watchdog ends stages that hang and names the place; working or stopped stages continue."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headsplat.runtime import process, stopping, system, watchdog_launcher
from headsplat.runtime.watchdog import InactivityTimer
from tests.conftest import ROOT

from .test_stopping import start

# Blocks for ever, holds Python's lock, and no signal interrupts it.
LOCKED = """
import ctypes
def block():
    mutex, lock = ctypes.create_string_buffer(64), ctypes.PyDLL(None).pthread_mutex_lock
    lock(mutex)
    lock(mutex)
"""
# Computes for minutes, and lets other threads run.
COMPUTES = """
import hashlib
def compute():
    hashlib.pbkdf2_hmac("sha256", b"", b"", 1 << 30)
"""


def limits(idle: float, busy: float) -> dict[str, str]:
    return {watchdog_launcher.LIMITS_VARIABLE: f"{idle},{busy}"}


def last_line(text: str) -> str:
    return text.splitlines()[-1]


def wait_until_gone(*pids: int) -> None:
    end = time.monotonic() + 10
    while [pid for pid in pids if (seen := system.process(pid)) and seen.state != "Z"]:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_stage_blocked_on_a_pipe_is_ended(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "clip.json")
    code = """
from headsplat.runtime.heartbeat import beat
def main():
    beat("frames", 3, 40)
    ready()
    (here / "clip.json").read_text()
stage(main)
"""
    child = start(tmp_path, code, env=limits(1, 0))
    _, said = child.communicate(timeout=20)
    assert child.returncode == 1
    assert "in main\n" in said
    assert said.count("most recent call first") == 1
    line = last_line(said)
    assert line.startswith("error: -c hangs at workflow_scripts/headsplat_workflow/stage.py, line ")
    assert "no use of the CPU for 1 s (watchdog.idle), last progress: 'frames 3/40'" in line


def test_native_code_that_holds_the_gil_is_ended(tmp_path: Path) -> None:
    code = (
        LOCKED
        + """
def main():
    child = subprocess.Popen(["sleep", "61"])
    (here / "child").write_text(str(child.pid))
    ready()
    block()
stage(main)
"""
    )
    child = start(tmp_path, code, env=limits(1, 0))
    _, said = child.communicate(timeout=20)
    assert child.returncode == -signal.SIGKILL
    assert "in block\n" in said
    assert last_line(said).startswith(
        "error: -c hangs at workflow_scripts/headsplat_workflow/stage.py, line "
    )
    wait_until_gone(int((tmp_path / "child").read_text()))


def test_computing_stage_has_the_busy_limit(tmp_path: Path) -> None:
    code = (
        COMPUTES
        + """
def main():
    ready()
    compute()
stage(main)
"""
    )
    begun = time.monotonic()
    child = start(tmp_path, code, env=limits(0.5, 2))
    _, said = child.communicate(timeout=20)
    assert time.monotonic() - begun >= 2
    assert child.returncode == 1
    assert "no progress for 2 s, while it computed (watchdog.busy)" in last_line(said)


def test_cpu_time_of_children_counts(tmp_path: Path) -> None:
    code = """
def main():
    ready()
    busy = "import time\\nwhile time.process_time() < 2: pass"
    subprocess.run([sys.executable, "-c", busy], check=True)
stage(main)
"""
    child = start(tmp_path, code, env=limits(1, 0))
    assert child.communicate(timeout=30) == (None, "")
    assert child.returncode == 0


def test_progress_and_stopped_time_do_not_count_as_hanging(tmp_path: Path) -> None:
    """First a batch system stops the whole group; then the stage alone is stopped."""
    code = """
from headsplat.runtime.progress import progress
def main():
    for _ in progress(range(30), 30, "steps", every=100):
        ready()
        time.sleep(0.1)
stage(main)
"""
    child = start(tmp_path, code, env=limits(2, 2), start_new_session=True)
    os.killpg(child.pid, signal.SIGSTOP)
    time.sleep(2.5)
    os.killpg(child.pid, signal.SIGCONT)
    child.send_signal(signal.SIGSTOP)
    _, said = child.communicate(timeout=30)
    assert child.returncode == 0
    assert "-c was stopped (SIGSTOP) for 2 s: continued" in said
    assert "error" not in said


def test_a_stopped_child_is_continued(tmp_path: Path) -> None:
    code = """
def main():
    ready()
    subprocess.run(["sh", "-c", "kill -STOP $$; exit 0"], check=True)
stage(main)
"""
    child = start(tmp_path, code, env=limits(4, 0))
    _, said = child.communicate(timeout=30)
    assert child.returncode == 0
    assert "of -c was stopped (SIGSTOP): continued" in said


def test_native_code_does_not_delay_a_stop_signal(tmp_path: Path) -> None:
    """A stage that holds Python's lock is killed; another one exits with status 143."""
    told: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))
    stages = {"locked": LOCKED + "do = block", "computes": COMPUTES + "do = compute"}
    children = {}
    for name, code in stages.items():
        (tmp_path / name).mkdir()
        main = "\ndef main():\n    ready()\n    do()\nstage(main)\n"
        env = {process.PARENT_VARIABLE: str(os.getpid())}
        children[name] = start(tmp_path / name, code + main, env=env)
    try:
        for child in children.values():
            child.send_signal(signal.SIGTERM)
        said = {name: child.communicate(timeout=10)[1] for name, child in children.items()}
    finally:
        signal.signal(signal.SIGTERM, before)
    assert children["locked"].returncode == -signal.SIGKILL
    assert children["computes"].returncode == stopping.STATUS
    assert set(said.values()) == {"stopped; the same command continues\n"}
    assert told, "the workflow was not signaled"


WAITS = """
def main():
    ready()
    time.sleep(1)
stage(main)
"""


@pytest.mark.parametrize("number", [None, signal.SIGTERM, signal.SIGKILL])
def test_the_watchdog_ends_with_its_stage(tmp_path: Path, number: int | None) -> None:
    child = start(tmp_path, WAITS)
    (watchdog,) = process.descendants(child.pid)
    if number is not None:
        child.send_signal(number)
    child.communicate(timeout=20)
    wait_until_gone(watchdog)


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_stage_continues_without_its_watchdog(tmp_path: Path, number: int) -> None:
    child = start(tmp_path, WAITS)
    (watchdog,) = process.descendants(child.pid)
    os.kill(watchdog, number)
    child.communicate(timeout=20)
    assert child.returncode == 0
    wait_until_gone(watchdog)


def test_imports_are_watched(tmp_path: Path) -> None:
    """Libraries can hang while they are imported, before the stage begins."""
    for package in ("headsplat", "workflow_scripts/headsplat_workflow"):
        shutil.copytree(ROOT / package, tmp_path / package)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "workflow_scripts/library.py").write_text(f"open({str(tmp_path / 'pipe')!r})\n")
    script = tmp_path / "workflow_scripts/solve_it.py"
    script.write_text("from headsplat_workflow.stage import stage\nimport library\n")
    run = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=20,
        env=os.environ | limits(1, 0) | {"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert run.returncode == 1
    assert last_line(run.stderr).startswith(
        "error: solve_it hangs at workflow_scripts/library.py, line 1 in <module>"
    )


def test_inactivity_is_counted_from_the_last_heartbeat_and_cpu_use() -> None:
    timer = InactivityTimer()
    assert timer.update_beats(1)
    assert not timer.update_beats(1)
    for _ in range(6):
        timer.update_cpu(1, seconds=10)
    assert (timer.silent, timer.idle) == (6, 5), "earlier CPU time counts as idle"
    timer.update_cpu(1, seconds=10.9)
    assert (timer.silent, timer.idle) == (7, 0)
    timer.update_cpu(1, seconds=3)  # the time of an unreaped child is lost
    assert (timer.silent, timer.idle) == (8, 1)
    assert timer.update_beats(2)
    assert (timer.silent, timer.idle) == (0, 0)
