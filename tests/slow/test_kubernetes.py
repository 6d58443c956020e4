"""`--profile kubernetes`: what it posts is well formed, and its jobs run from a volume."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.slow.kubernetes_api import KubernetesApi
from tests.workflow.conftest import ROOT, Checkout, copy_repository

kubernetes = pytest.importorskip("kubernetes", reason="needs requirements-kubernetes.txt")
pytest.importorskip("snakemake_storage_plugin_fs", reason="needs requirements-storage.txt")

MODEL = "results/demo/avatar/model"
IMAGE = "example/headsplat:1"
TRAINING_READS = (
    "work/heads/procedural.npz", "work/cuda_ext/build.json", "work/demo/track/track.npz",
    "work/demo/split.json", "work/demo/frames/000.zip", "work/demo/alpha/000.zip",
    "work/demo/parsing/000.zip",
)  # fmt: skip


@pytest.fixture
def volume(tmp_path: Path) -> Checkout:
    """The checkout on its volume: a git repository with a virtual environment."""
    checkout = copy_repository(tmp_path / "volume")
    tiny = checkout.folder / "tiny.yaml"
    tiny.write_text(tiny.read_text().replace("chunks: 2", "chunks: 1"))
    for command in (
        ["init", "-q"], ["add", "-A"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "sources"],
    ):  # fmt: skip
        subprocess.run(["git", *command], cwd=checkout.folder, check=True)
    (checkout.folder / ".venv").symlink_to(sys.prefix)
    (checkout.folder / "work").mkdir()
    # What was compiled, but not that the rule is done, which it is on some machines.
    compiled = ROOT / "work" / "cuda_ext"
    ignored = shutil.ignore_patterns("build.json")
    shutil.copytree(compiled, checkout.folder / "work" / "cuda_ext", ignore=ignored)
    return checkout


def start(volume: Checkout, *arguments: str, log: Path, **environment: str) -> subprocess.Popen:
    """The profile's command, with the volume where the test has it."""
    folder = volume.folder
    with open(log, "w") as out:
        return subprocess.Popen(
            [
                sys.executable, "-m", "snakemake", *arguments, "--profile", "kubernetes",
                "--configfile", "tiny.yaml", "--container-image", IMAGE,
                "--kubernetes-persistent-volumes", f"headsplat:{folder}",
                "--default-storage-prefix", str(folder), "--seconds-between-status-checks", "1",
                "--precommand",
                f"export HEADSPLAT_VOLUME={folder} && . {folder}/profiles/kubernetes/pod.sh",
            ],
            cwd=folder, stdout=out, stderr=out,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        )  # fmt: skip


def as_model(job: dict) -> "kubernetes.client.V1Job":
    """The job as the API's models read it; every field that was posted is one of theirs."""

    class Response:
        data = json.dumps(job)

    api = kubernetes.client.ApiClient()
    model = api.deserialize(Response, "V1Job")
    assert api.sanitize_for_serialization(model) == job
    return model


def check_job(job: dict, volume: Path) -> "kubernetes.client.V1PodSpec":
    """Assert what an API server would refuse."""
    model = as_model(job)
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", model.metadata.name)
    assert model.spec.backoff_limit == 0
    pod = model.spec.template.spec
    assert pod.restart_policy == "Never"
    (container,) = pod.containers
    assert container.image == IMAGE
    assert {mount.name for mount in container.volume_mounts} == {v.name for v in pod.volumes}
    assert {mount.mount_path for mount in container.volume_mounts} == {"/workdir", str(volume)}
    asked, limits = container.resources.requests, container.resources.limits
    assert asked.keys() == limits.keys() >= {"cpu", "memory", "ephemeral-storage"}
    size = kubernetes.utils.parse_quantity
    for name, quantity in asked.items():
        assert 0 < size(quantity) <= size(limits[name])
    return pod


def test_training_asks_for_a_gpu_in_a_well_formed_job(volume, tmp_path):
    for name in TRAINING_READS:
        (volume.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (volume.folder / name).write_bytes(b"x")
    log = tmp_path / "log"
    with KubernetesApi(tmp_path / "pods", run=False) as api:
        api.write_config(tmp_path / "config")
        run = start(
            volume, MODEL, "--allowed-rules", "train_avatar", log=log,
            KUBECONFIG=str(tmp_path / "config"),
        )  # fmt: skip
        deadline = time.monotonic() + 120
        while not api.jobs and run.poll() is None and time.monotonic() < deadline:
            time.sleep(0.2)
        run.send_signal(signal.SIGTERM)
        run.wait(60)
    assert api.jobs, log.read_text()[-3000:]
    assert not api.unknown
    (job,) = api.jobs.values()
    pod = check_job(job, volume.folder)
    (container,) = pod.containers
    assert container.resources.requests["nvidia.com/gpu"] == "1"
    assert container.resources.limits["nvidia.com/gpu"] == "1"
    assert [tolerated.key for tolerated in pod.tolerations] == ["nvidia.com/gpu"]
    assert "train_avatar" in container.args[1]


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
def test_jobs_run_with_nothing_but_the_volume(volume, tmp_path):
    log = tmp_path / "log"
    (tmp_path / "pods").mkdir()
    target = "work/demo/video.json"
    with KubernetesApi(tmp_path / "pods") as api:
        api.write_config(tmp_path / "config")
        run = start(volume, target, log=log, KUBECONFIG=str(tmp_path / "config"))
        status = run.wait(600)
    said = log.read_text()[-3000:]
    pods = "".join(path.read_text()[-2000:] for path in (tmp_path / "pods").glob("*.log"))
    assert status == 0, said + pods
    assert not api.unknown
    assert json.loads((volume.folder / target).read_text())["n_frames"] == 75
    commands = []
    for job in api.jobs.values():
        (container,) = check_job(job, volume.folder).containers
        assert "nvidia.com/gpu" not in container.resources.limits
        commands.append(container.args[1])
    rules = ("build_cuda_ext", "build_procedural_head", "render_builtin", "probe_video")
    assert len(commands) == len(rules)
    for rule in rules:
        assert sum(f"--allowed-rules {rule}" in command for command in commands) == 1, rule
    assert (volume.folder / "logs/demo/probe_video.log").exists()
