"""SIGKILL in the middle of a run: no orphan keeps writing, and the same command finishes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from .conftest import TINY, Checkout
from .test_run import edited  # noqa: F401 - a fixture

pytestmark = pytest.mark.slow
PATIENCE = 60.0  # seconds


def stages_of(folder: Path, script: str) -> list[int]:
    """Process ids of a stage script that runs in `folder`."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0")
            inside = os.readlink(entry / "cwd") == str(folder)
        except OSError:  # the process is gone, or another user's
            continue
        if inside and f"workflow_scripts/{script}.py".encode() in command:
            found.append(int(entry.name))
    return found


def wait_for(condition, what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def test_sigkill_of_the_workflow_ends_its_stage_and_the_same_command_finishes(
    edited: Checkout,  # noqa: F811
) -> None:
    tiny = json.loads(json.dumps(TINY))
    tiny["presets"]["preview"]["train"]["steps"] = 1200
    (edited.folder / "tiny.yaml").write_text(yaml.safe_dump(tiny))
    model = edited.folder / "results/demo/avatar/model"
    command = [sys.executable, "-m", "snakemake", "--configfile", "tiny.yaml", "--cores", "2"]
    run = subprocess.Popen(
        [*command, "demo"],
        cwd=edited.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(lambda: stages_of(edited.folder, "train_avatar"), "training did not start")
        time.sleep(2)
        assert run.poll() is None
        assert not model.exists()
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait()
    wait_for(lambda: not stages_of(edited.folder, "train_avatar"), "an orphan keeps training")
    assert not model.exists(), "half an avatar stands under its final name"

    result = edited.snakemake("demo")
    assert result.returncode == 0, result.stdout + result.stderr
    assert json.loads((model / "training.json").read_text())["steps"] == 1200
    assert edited.planned("demo") == {}
