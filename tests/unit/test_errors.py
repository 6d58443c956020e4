"""Error lines and log lines stay lines, whatever the names in them hold."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from headsplat.frames.table import FrameRow, read_frames, write_frames
from headsplat.runtime.errors import UserError
from headsplat.runtime.regular import read_regular
from tests.conftest import PYTHON_PATH

ROOT = Path(__file__).resolve().parents[2]


def test_control_characters_are_escaped_and_several_problems_are_lines():
    error = UserError("a\nb\x1b[31m.mp4: é fehlt", "second")
    assert str(error) == "a\\nb\\x1b[31m.mp4: é fehlt\nerror: second"


def test_a_name_of_two_lines_makes_one_line(tmp_path):
    script = ROOT / "workflow_scripts/probe_video.py"
    name = "two\nerror: lines\x1b[2J.mp4"
    done = subprocess.run(
        [sys.executable, script, "--video", name, "--out", "v.json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr == "error: two\\nerror: lines\\x1b[2J.mp4: no such file; check its path\n"


def test_the_log_escapes_names(tmp_path):
    (tmp_path / "stage.py").write_text(
        "import logging\nfrom headsplat_workflow.stage import stage\n"
        "stage(lambda: logging.getLogger('x').warning('%s: odd', 'a\\nerror: b'))\n"
    )
    command = [sys.executable, "stage.py"]
    environment = {"PYTHONPATH": PYTHON_PATH, "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.stderr.splitlines()[0].endswith("a\\nerror: b: odd"), done.stderr


def test_a_pipe_in_the_place_of_the_table_of_frames(tmp_path):

    os.mkfifo(tmp_path / "frames.tsv")
    with pytest.raises(UserError, match="not a regular file"):
        read_frames(tmp_path / "frames.tsv")


def test_a_table_of_frames_that_was_cut_behind_a_row(tmp_path):
    path = tmp_path / "frames.tsv"
    write_frames(path, [FrameRow(number, number / 25, "ok", 1.0, 1) for number in range(1, 9)])
    assert len(read_frames(path)) == 8
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:5]))
    with pytest.raises(UserError, match="a row is missing"):
        read_frames(path)


def test_a_file_that_is_longer_than_its_size_says():
    with pytest.raises(OSError, match="its size changed"):
        read_regular("/proc/self/status", 1 << 20)
