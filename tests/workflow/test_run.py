"""The real workflow on a tiny clip: what it leaves."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from headsplat.frames.packs import FrameStore
from headsplat.runtime.files import read_npz

from .conftest import Checkout

pytestmark = pytest.mark.slow


@pytest.fixture
def edited(finished: Checkout, tmp_path: Path) -> Checkout:
    """A copy of the finished run, with its time stamps and metadata, to be edited."""
    folder = tmp_path / "headsplat"
    shutil.copytree(finished.folder, folder, symlinks=True, copy_function=shutil.copy2)
    return Checkout(folder)


def test_leaves_what_it_promises(finished: Checkout) -> None:
    avatar = finished.folder / "results/demo/avatar"
    metrics = json.loads((avatar / "metrics.json").read_text())
    assert metrics["psnr_head"] > 12
    assert {"ssim_head", "psnr_full", "psnr_head_pixels"} <= set(metrics)
    assert (avatar / "test.mp4").stat().st_size > 1000
    assert "<html" in (avatar / "report.html").read_text()[:500].lower()


def test_no_frame_is_lost(finished: Checkout) -> None:
    work, results = finished.folder / "work/demo", finished.folder / "results/demo"
    ids = list(range(1, 76))
    assert read_npz(work / "track/track.npz")["ids"].tolist() == ids
    for stage in ("frames", "alpha", "parsing"):
        with FrameStore(sorted((work / stage).glob("*.zip"))) as store:
            assert store.ids == ids, stage
    assert len(list((results / "checkpoint").glob("*.frame"))) == 75
    for folder, suffix in (("imgs", ".jpg"), ("alpha", ".jpg"), ("parsing", "_neckhead.png")):
        names = {path.name for path in (results / "dataset" / folder).glob(f"*{suffix}")}
        assert names == {f"{i:05d}{suffix}" for i in ids}


def test_a_second_run_has_nothing_to_do(finished: Checkout) -> None:
    assert finished.planned("demo") == {}


def test_a_second_workflow_in_the_folder_is_refused(finished: Checkout) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; sys.path[:0] = ['.', 'workflow_scripts']; "
            "from headsplat_workflow import runlock; runlock.hold(); "
            "print('held', flush=True); input()",
        ],
        cwd=finished.folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline().strip() == "held"
        result = finished.snakemake("--force", "work/demo/split.json")
        assert result.returncode != 0
        assert f"another run (pid {holder.pid})" in result.stderr
    finally:
        holder.communicate("\n", timeout=10)
