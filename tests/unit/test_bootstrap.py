"""A pod's set-up: sound shell, and what it decides by the driver and by what is installed."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

SCRIPTS = ("profiles/runpod/bootstrap.sh", "profiles/runpod/env.sh", "profiles/kubernetes/pod.sh")
BOOTSTRAP = "profiles/runpod/bootstrap.sh"


@pytest.mark.parametrize("script", SCRIPTS)
def test_shell_is_sound(script):
    subprocess.run(["bash", "-n", ROOT / script], check=True)
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed; only the syntax was checked")
    subprocess.run(["shellcheck", "-x", script], cwd=ROOT, check=True)


class Pod:
    """A checkout's profile beside programs that say what they were asked."""

    def __init__(self, folder: Path):
        self.folder = folder
        shutil.copytree(ROOT / "profiles", folder / "profiles")
        (folder / "bin").mkdir()
        (folder / ".venv" / "bin").mkdir(parents=True)
        self.program("make", 'echo "make $* constraint=${PIP_CONSTRAINT-none}"')
        support = "workflow_scripts/headsplat_workflow"
        (folder / support).mkdir(parents=True)
        shutil.copy(ROOT / support / "find_python.sh", folder / support)
        self.program("python3", "exit 0")
        self.program("apt-get", 'echo "apt-get $*"')
        self.program("apt-cache", "exit 0")
        for name in ("g++", "git"):
            self.program(name, "exit 0")
        self.program("snakemake", 'echo "snakemake $* in $PWD"', ".venv/bin")

    def program(self, name: str, text: str, where: str = "bin") -> None:
        path = self.folder / where / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def gpu(self, driver: str, cuda: str | None) -> None:
        self.program("nvidia-smi", f"echo {driver}")
        if cuda:
            self.program("nvcc", f'echo "Cuda compilation tools, release {cuda}, V{cuda}.1"')

    def start(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", self.folder / BOOTSTRAP, *arguments], cwd="/", capture_output=True, text=True,
            env={"PATH": f"{self.folder / 'bin'}:/usr/bin:/bin", "HOME": os.environ["HOME"]}
            | environment,
        )  # fmt: skip


@pytest.fixture
def pod(tmp_path):
    return Pod(tmp_path / "headsplat")


def test_without_a_gpu_the_doctor_is_asked_last(pod):
    done = pod.start()
    assert done.returncode == 0, done.stderr
    assert "PyTorch will compute on the CPU" in done.stdout
    assert "apt-get" not in done.stdout
    assert "constraint=none" in done.stdout
    assert done.stdout.splitlines()[-1].endswith(f"doctor in {pod.folder}")
    assert (pod.folder / "scratch" / "tmp").is_dir()


def test_arguments_go_to_snakemake(pod):
    done = pod.start("--profile", "runpod", "-j", "4")
    assert done.stdout.splitlines()[-1] == f"snakemake --profile runpod -j 4 in {pod.folder}"


@pytest.mark.parametrize(
    ("driver", "cuda", "constrained"),
    [("580.65.06", "13.0", False), ("550.144.03", "12.4", True), ("525.60.13", "12.6", True)],
)
def test_the_driver_decides_which_pytorch(pod, driver, cuda, constrained):
    pod.gpu(driver, cuda)
    done = pod.start(**({"PIP_EXTRA_INDEX_URL": "file:///wheels"} if constrained else {}))
    assert done.returncode == 0, done.stderr
    wanted = f"{pod.folder}/requirements-cuda12.txt" if constrained else "none"
    assert f"constraint={wanted}" in done.stdout
    assert "apt-get" not in done.stdout


def test_pytorch_for_cuda_twelve_needs_its_index(pod):
    pod.gpu("550.144.03", "12.4")
    done = pod.start()
    assert done.returncode == 1
    assert "set PIP_EXTRA_INDEX_URL" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_old_driver_ends_in_one_line(pod):
    pod.gpu("470.57.02", None)
    done = pod.start()
    assert done.returncode == 1
    assert done.stderr.startswith("error: the NVIDIA driver 470.57.02 is too old")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root installs packages")
def test_a_compiler_of_another_cuda_is_replaced(pod):
    pod.gpu("580.65.06", "12.4")
    done = pod.start()
    assert "cuda-nvcc-13-0 cuda-cudart-dev-13-0" in done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root installs packages")
def test_an_image_without_python_ends_in_one_line(pod):
    for version in ("", ".11", ".12", ".13", ".14"):
        pod.program(f"python3{version}", "exit 1")
    pod.program("apt-cache", '[ "$2" != python3 ]')
    done = pod.start()
    assert done.returncode == 1
    assert "has no package python3;" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root installs packages")
def test_a_python_without_its_headers_gets_them(pod):
    pod.program("python3", 'case "$2" in *Python.h*) exit 1;; esac')
    done = pod.start()
    assert done.returncode == 0, done.stderr
    assert "--no-install-recommends python3-dev\n" in done.stdout
