"""`plan`, `status` and Snakemake's report on the finished demo, also during another run."""

import json
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import pytest
import yaml

from .conftest import TINY, Checkout
from .test_run import edited  # noqa: F401 - a fixture

pytestmark = pytest.mark.slow


@pytest.fixture
def busy(edited: Checkout) -> Iterator[Checkout]:  # noqa: F811
    """The finished demo, with the run lock held by another process."""
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; sys.path[:0] = ['.', 'workflow_scripts']; "
            "from headsplat_workflow.run_checks import hold_run_lock; hold_run_lock(); "
            "print('held', flush=True); input()",
        ],
        cwd=edited.folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline().strip() == "held"
    yield edited
    holder.communicate("\n", timeout=10)


def files_below(folder: Path) -> dict[str, int]:
    """File -> modification time, of a run's outputs."""
    return {
        str(path): path.stat().st_mtime_ns
        for part in ("work", "results", "scratch")
        for path in (folder / part).rglob("*")
        if path.is_file()
    }


def test_plan_and_status_print_and_change_no_files(busy: Checkout) -> None:
    before = files_below(busy.folder)
    tiny = deepcopy(TINY)
    tiny["presets"]["preview"]["train"]["steps"] = 31
    (busy.folder / "tiny.yaml").write_text(yaml.safe_dump(tiny))
    source = busy.folder / "headsplat/tracking/overlay.py"
    source.write_text(source.read_text() + "\nAN_EDIT = 1\n")

    plan = busy.snakemake("plan", "-q", "all")
    assert plan.returncode == 0, plan.stderr
    rows = {line.split()[0]: line.split(maxsplit=3)[3] for line in plan.stdout.splitlines()[1:-1]
            if line.startswith("  ")}  # fmt: skip
    assert rows.keys() == {"overlay_track", "train_avatar", "evaluate_avatar", "write_report"}
    assert rows["train_avatar"].startswith("steps 30 -> 31  [")
    assert rows["overlay_track"].startswith("code changed  [")
    assert rows["evaluate_avatar"].startswith("after train_avatar  [")
    assert all(line.endswith("last time]") for line in rows.values())
    assert plan.stdout.splitlines()[-1].startswith("4 jobs; last time such jobs took ")

    status = busy.snakemake("status", "-q", "all")
    assert status.returncode == 0, status.stderr
    assert status.stdout.startswith("demo  done         16/16 stages  psnr_head ")
    assert files_below(busy.folder) == before


def test_status_of_an_unfinished_subject(busy: Checkout) -> None:
    logs = busy.folder / "logs/demo"
    (busy.folder / "work/demo/alpha/001.zip").unlink()
    with open(logs / "matte_chunk/001.log", "a") as log:
        log.write("12:00:00 matte 12/37  3.4/s  7 s left\n")
    (busy.folder / "work/demo/split.json").unlink()
    (logs / "split_frames.log").write_text("error: frames.tsv: no frame is good; take another\n")
    lines = busy.snakemake("status", "-q", "all").stdout.splitlines()
    assert lines[0].split()[:3] == ["demo", "failed", "14/16"]
    assert "  matte_chunk 1/2 running: 12:00:00 matte 12/37  3.4/s  7 s left" in lines
    assert (
        "  split_frames 0/1 failed: frames.tsv: no frame is good; take another"
        "  [logs/demo/split_frames.log]" in lines
    )


def test_snakemakes_report_contains_the_html_report(finished: Checkout) -> None:
    result = finished.snakemake("demo", "--report", "report.html")
    assert result.returncode == 0, result.stdout + result.stderr
    page = finished.folder / "report.html"
    text = page.read_text()
    page.unlink()
    assert "results/demo/avatar/report.html" in text
    assert json.dumps("avatars")[1:-1] in text
