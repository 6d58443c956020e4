"""SIGKILL at random moments: the same command resumes, with an undisturbed run's outputs."""

import shutil
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.slow.chaos import Chaos, command, differences, environment, leftovers, processes
from tests.workflow.conftest import Checkout, copy_repository

KILLS = 20
SEED = 6
KILLS_PER_RUN = 6  # per duration of an undisturbed run, on average


def forget(checkout: Checkout) -> None:
    """Delete all outputs of the workflow, but not Snakemake's records of it."""
    for name in ("work", "results", "scratch", "logs"):
        shutil.rmtree(checkout.folder / name)


def test_twenty_kills_do_not_change_the_outputs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quiet = copy_repository(tmp_path / "quiet")
    disturbed = copy_repository(tmp_path / "disturbed")
    start = time.monotonic()
    subprocess.run(command(), cwd=quiet.folder, env=environment(), check=True, capture_output=True)

    seconds = time.monotonic() - start

    chaos = Chaos(disturbed.folder, command(), SEED, seconds / KILLS_PER_RUN)
    while chaos.run(KILLS):
        assert differences(quiet.folder, disturbed.folder) == []
        assert leftovers(disturbed.folder) == []
        if len(chaos.kills) == KILLS:
            break
        forget(disturbed)
    else:
        chaos.run(0)

    assert differences(quiet.folder, disturbed.folder) == []
    assert leftovers(disturbed.folder) == []
    assert processes(disturbed.folder) == []
    assert disturbed.planned("demo") == {}
    assert "unlock" not in (disturbed.folder / "run.log").read_text()
    assert len(chaos.kills) == KILLS
    with capsys.disabled():
        victims = Counter(kill.rpartition(": ")[2] for kill in chaos.kills)
        print(f"\nseed {SEED}, {KILLS} kills: {dict(victims.most_common())}")
