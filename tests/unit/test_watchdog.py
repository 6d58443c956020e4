"""A stage that hangs is ended, and a line says where; one that works or was paused is not."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headsplat.runtime import process, stopping, watching
from headsplat.runtime.watchdog import Silence
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
    return {watching.LIMITS_VARIABLE: f"{idle},{busy}"}


def last_line(text: str) -> str:
    return text.splitlines()[-1]


def wait_until_gone(*pids: int) -> None:
    end = time.monotonic() + 10
    while [pid for pid in pids if (seen := process.look(pid)) and seen.state != "Z"]:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_pipe_in_the_place_of_an_input_ends_the_stage(tmp_path: Path) -> None:
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
    assert "no use of the CPU for 1 s (watchdog.idle), last heard: 'frames 3/40'" in line


def test_native_code_that_holds_pythons_lock_is_ended(tmp_path: Path) -> None:
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


def test_who_computes_has_the_longer_limit(tmp_path: Path) -> None:
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


def test_a_child_that_computes_counts(tmp_path: Path) -> None:
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


def test_progress_and_pauses_are_no_hang(tmp_path: Path) -> None:
    """As a batch system stops all, for longer than the limit; then the stage alone, forgotten."""
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


def test_native_code_does_not_hold_up_a_request_to_stop(tmp_path: Path) -> None:
    """With Python's lock it is killed, without it ends with the usual status."""
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
    assert told, "the workflow goes on"


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
def test_a_stage_without_its_watchdog_goes_on(tmp_path: Path, number: int) -> None:
    child = start(tmp_path, WAITS)
    (watchdog,) = process.descendants(child.pid)
    os.kill(watchdog, number)
    child.communicate(timeout=20)
    assert child.returncode == 0
    wait_until_gone(watchdog)


def test_imports_are_watched(tmp_path: Path) -> None:
    """Libraries hang in what they do when they are loaded, before the stage begins."""
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


def test_silence_is_counted_from_the_last_sign_and_the_last_use_of_the_cpu() -> None:
    silence = Silence()
    assert silence.heard(1)
    assert not silence.heard(1)
    for _ in range(6):
        silence.look(1, seconds=10)
    assert (silence.silent, silence.idle) == (6, 5), "what it used before is no idling"
    silence.look(1, seconds=10.9)
    assert (silence.silent, silence.idle) == (7, 0)
    silence.look(1, seconds=3)  # a child's time is gone with it
    assert (silence.silent, silence.idle) == (8, 1)
    assert silence.heard(2)
    assert (silence.silent, silence.idle) == (0, 0)
