"""Signals during a run: it saves and ends without orphans, and the same command resumes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from .conftest import ROOT, TINY, Checkout
from .test_run import edited  # noqa: F401 - a fixture

pytestmark = pytest.mark.slow
PATIENCE = 120.0  # seconds
SECONDS_TO_STOP = 10.0
STEPS = 2000


def stages_of(folder: Path, script: str) -> list[int]:
    """Process ids of the stage scripts that run in `folder`."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0")
            inside = os.readlink(entry / "cwd") == str(folder)
        except OSError:  # the process has ended, or belongs to another user
            continue
        if inside and f"workflow_scripts/{script}.py".encode() in command:
            found.append(int(entry.name))
    return found


def wait_for(condition, what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


class Run:
    """`snakemake demo` in a checkout, as a process group of its own."""

    def __init__(self, checkout: Checkout) -> None:
        self.folder, self.output = checkout.folder, checkout.folder / "output.txt"
        command = [sys.executable, "-m", "snakemake", "--configfile", "tiny.yaml"]
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [*command, "--cores", "2", "demo"],
                cwd=self.folder,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={**os.environ, "HEADSPLAT_EXT_DIR": str(ROOT / "work" / "cuda_ext")},
            )

    def wait_until_it_trains(self) -> None:
        log = self.folder / "logs/demo/train_avatar.log"
        log.unlink(missing_ok=True)
        wait_for(
            lambda: log.exists() and " steps " in log.read_text(), f"no training: {self.said()}"
        )
        time.sleep(0.5)
        assert self.process.poll() is None, self.said()

    def said(self) -> str:
        return self.output.read_text()

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def end(self, limit: float) -> int:
        """Wait for the end and return the exit status; the test fails if the run takes too long."""
        try:
            return self.process.wait(limit)
        except subprocess.TimeoutExpired:
            pytest.fail(f"it goes on after {limit:.0f} s: {self.said()}")


def to_snakemake(run: Run, number: int) -> None:
    run.process.send_signal(number)


def to_the_group(run: Run, number: int) -> None:
    os.killpg(run.process.pid, number)


def to_the_stage(run: Run, number: int) -> None:
    for stage in stages_of(run.folder, "train_avatar"):
        os.kill(stage, number)


def test_stopped_or_killed_run_leaves_no_orphans_and_resumes(
    edited: Checkout,  # noqa: F811
) -> None:
    tiny = json.loads(json.dumps(TINY))
    tiny["presets"]["preview"]["train"]["steps"] = STEPS
    (edited.folder / "tiny.yaml").write_text(yaml.safe_dump(tiny))
    model = edited.folder / "results/demo/avatar/model"
    done = 0
    for target, number in (
        (to_snakemake, signal.SIGTERM),
        (to_snakemake, signal.SIGINT),
        (to_the_group, signal.SIGTERM),
        (to_the_stage, signal.SIGTERM),
    ):
        with Run(edited) as run:
            run.wait_until_it_trains()
            target(run, number)
            assert run.end(SECONDS_TO_STOP) == 1
        said = run.said()
        assert said.endswith("stopped; the same command continues\n"), said
        assert "Error in rule" not in said
        assert not stages_of(edited.folder, "train_avatar")
        assert not model.exists(), "half an avatar stands under its final name"
        (state,) = edited.folder.glob("scratch/demo/train_avatar/*/state.pt")
        before, done = done, torch.load(state, weights_only=True)["step"]
        assert before < done < STEPS

    with Run(edited) as run:
        run.wait_until_it_trains()
        run.process.kill()
        run.process.wait()
    wait_for(lambda: not stages_of(edited.folder, "train_avatar"), "an orphan keeps training")
    assert not model.exists()
    log = (edited.folder / "logs/demo/train_avatar.log").read_text()
    assert f"continuing at step {done} of {STEPS}" in log

    result = edited.snakemake("demo")
    assert result.returncode == 0, result.stdout + result.stderr
    assert json.loads((model / "training.json").read_text())["steps"] == STEPS
    assert edited.planned("demo") == {}
