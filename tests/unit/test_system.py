"""What headsplat does where Linux's own calls are absent, and on a machine that only trains."""

import fcntl
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from headsplat_workflow.state import run_is_active

from headsplat.runtime import process, system
from tests.conftest import PYTHON_PATH, ROOT


@pytest.fixture
def no_proc(monkeypatch, tmp_path):
    monkeypatch.setattr(system, "PROC", tmp_path / "proc")
    monkeypatch.setattr("headsplat_workflow.state.PROC", tmp_path / "proc")


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120,
        env=os.environ | {"PYTHONPATH": PYTHON_PATH} | environment,
    )  # fmt: skip


def test_ps_says_what_proc_does(no_proc, monkeypatch):
    child = subprocess.Popen(["sleep", "60"])
    try:
        seen = system.process(child.pid)
        assert seen.parent == os.getpid()
        assert seen.state == "S"
        assert system.is_alive(child.pid)
        assert child.pid in process.descendants(os.getpid())
        assert system.process(os.getpid()).parent == os.getppid()
        assert abs(system.process(os.getpid()).seconds - time.process_time()) < 3
    finally:
        child.kill()
        child.wait()
    assert system.process(child.pid) is None
    assert not system.is_alive(child.pid)
    monkeypatch.setenv("PATH", "")
    assert system.processes() == {}
    assert system.is_alive(os.getpid())


@pytest.mark.parametrize(
    ("clock", "seconds"),
    [("00:07", 7), ("1:02.50", 62.5), ("02:03:04", 7384), ("3-01:00:00", 262800)],
)
def test_the_cpu_time_of_ps(clock, seconds):
    assert system._seconds(clock) == seconds


@pytest.mark.parametrize("linux", [True, False])
def test_a_child_reads_a_shared_file(monkeypatch, linux):
    if not linux:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    handle = system.shared_file("test")
    os.pwrite(handle, b"beat", 0)
    code = f"import os, sys; sys.stdout.write(os.pread({handle}, 9, 0).decode())"
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, pass_fds=[handle], capture_output=True).stdout == b"beat"
    os.close(handle)


def test_a_held_run_lock_is_seen_without_proc(no_proc, tmp_path):
    lock = tmp_path / "run.lock"
    assert not run_is_active(lock)
    with open(lock, "w") as handle:
        assert not run_is_active(lock)
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert run_is_active(lock)
    assert not run_is_active(lock)


def test_windows_itself_is_one_line():
    run = python("import sys; sys.platform = 'win32'\nimport headsplat.command.main")
    assert run.returncode == 1
    (line,) = run.stderr.strip().splitlines()
    assert "does not run on Windows itself: install WSL2" in line


def test_the_parent_is_watched_where_the_kernel_cannot_tell(tmp_path):
    """A child whose parent ends is killed within seconds."""
    child = "import time; from headsplat.runtime import system; system.kill_with_parent();"
    child += "print('ready', flush=True); time.sleep(60)"
    parent = "import subprocess, sys, os\n"
    parent += f"c = subprocess.Popen([sys.executable, '-c', {child!r}], stdout=subprocess.PIPE)\n"
    parent += "c.stdout.readline(); print(c.pid)"
    run = python(
        parent, PYTHONPATH=os.pathsep.join([str(ROOT / "tests/without_linux"), PYTHON_PATH])
    )
    number = int(run.stdout)
    end = time.monotonic() + 10
    while system.is_alive(number) and time.monotonic() < end:
        time.sleep(0.1)
    assert not system.is_alive(number)


WITHOUT_DETECTOR = """
import sys
import cv2
sys.modules["ai_edge_litert"] = sys.modules["cv2.ximgproc"] = None
if hasattr(cv2, "ximgproc"):
    del cv2.ximgproc
"""


def test_a_head_is_built_without_a_detector(tmp_path):
    from headsplat.heads.model import HeadModel
    from headsplat.synthetic.head.head import procedural_head

    path = tmp_path / "head.npz"
    code = WITHOUT_DETECTOR + (
        "import logging; logging.basicConfig(format='%(message)s')\n"
        "from pathlib import Path\n"
        "from headsplat.synthetic.head.calibrated import build_procedural_head\n"
        "import headsplat.heads.ict.build, headsplat.heads.flame\n"
        f"build_procedural_head(Path({str(path)!r}))\n"
    )
    run = python(code)
    assert run.returncode == 0, run.stderr
    (line,) = run.stderr.strip().splitlines()
    assert "its landmarks are not calibrated, because ai-edge-litert is not installed" in line
    head, plain = HeadModel.load(path), procedural_head()
    # A track belongs to a head of its name and version.
    assert (head.name, head.version) == (plain.name, plain.version)
    np.testing.assert_array_equal(head.template, plain.template)
    assert len(head.landmarks["mediapipe"].index) == len(plain.landmarks["mediapipe"].index)


def test_masks_are_made_without_a_detector_and_without_contrib(tmp_path):
    """The test of a whole chunk passes there."""
    run = pytest_without_detector(tmp_path, "test_a_chunk", "test_masks_parse.py")
    assert run.returncode == 0, run.stdout[-3000:]
    assert "1 passed" in run.stdout


def pytest_without_detector(folder, chosen, file):
    """Run the chosen tests of a file of this folder where the modules are hidden."""
    (folder / "hide_detector.py").write_text(WITHOUT_DETECTOR)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "hide_detector", "-k", chosen]
    return subprocess.run(
        [*command, "-p", "no:cacheprovider", str(ROOT / "tests/unit" / file)],
        cwd=ROOT, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), PYTHON_PATH])},
    )  # fmt: skip
