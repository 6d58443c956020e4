"""The demo on a real SLURM cluster: jobs are cancelled, a node is killed, the run finishes."""

import importlib.util
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.slow.slurm_cluster import CannotStartError, Cluster
from tests.workflow.conftest import ROOT, copy_repository

if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
    pytest.skip("snakemake-executor-plugin-slurm is not installed", allow_module_level=True)


@pytest.fixture
def cluster(tmp_path):
    try:
        cluster = Cluster(tmp_path / "slurm")
    except CannotStartError as error:
        pytest.skip(f"no SLURM: {error}")
    try:
        cluster.start()
        yield cluster
    except CannotStartError as error:
        pytest.skip(f"SLURM does not start: {error}")
    finally:
        cluster.stop()


def wait_for_job(cluster: Cluster, run: subprocess.Popen, word: str, log: Path) -> tuple[str, str]:
    """Id and node of the first running job whose name contains `word`."""
    deadline = time.monotonic() + 900
    while time.monotonic() < deadline and run.poll() is None:
        for job, (node, comment) in cluster.running().items():
            if word in comment:
                return job, node
        time.sleep(0.3)
    pytest.fail(f"no job {word}\n{log.read_text()[-3000:]}")


def test_demo_finishes_despite_cancelled_jobs_and_a_killed_node(cluster, tmp_path):
    checkout = copy_repository(tmp_path / "headsplat")
    tiny = checkout.folder / "tiny.yaml"
    tiny.write_text(tiny.read_text().replace("chunks: 2", "chunks: 1"))
    log = tmp_path / "run.log"
    with open(log, "w") as out:
        run = subprocess.Popen(
            [
                sys.executable, "-m", "snakemake", "demo", "--profile", "slurm",
                "--configfile", "tiny.yaml", "--slurm-status-command", "squeue",
                "--slurm-init-seconds-before-status-checks", "3",
                "--seconds-between-status-checks", "2", "--latency-wait", "5",
                "--set-threads", "train_avatar=2", "evaluate_avatar=2", "track_head=2",
            ],
            cwd=checkout.folder, stdout=out, stderr=out,
            env={
                **cluster.environment,
                "PYTHONDONTWRITEBYTECODE": "1",
                "HEADSPLAT_EXT_DIR": str(ROOT / "work" / "cuda_ext"),
            },
        )  # fmt: skip
    try:
        cancelled, _ = wait_for_job(cluster, run, "render_builtin", log)
        cluster.run("scancel", cancelled)

        _, node = wait_for_job(cluster, run, "track_head", log)
        cluster.kill_node(node)
        cluster.start_node(node)

        training, _ = wait_for_job(cluster, run, "train_avatar", log)
        assert re.search("gres[:/]gpu", cluster.run("scontrol", "show", "job", training))
        assert run.wait(timeout=900) == 0, log.read_text()[-3000:]
    finally:
        run.terminate()
        run.wait()
    said = log.read_text()
    assert f"SLURM-job '{cancelled}' failed, SLURM status is: 'CANCELLED'" in said
    assert " tried again\n" in said
    metrics = json.loads((checkout.folder / "results/demo/avatar/metrics.json").read_text())
    assert metrics["psnr_head"] > 15
    assert (checkout.folder / "results/demo/avatar/report.html").stat().st_size > 10_000
