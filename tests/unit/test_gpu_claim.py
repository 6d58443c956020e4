"""GPU claims by several real processes, with a script in place of `nvidia-smi`."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headsplat.runtime import gpu
from headsplat.runtime.device import choose_device

LIBRARY = Path(gpu.__file__).parents[2]
A, B, C = (f"GPU-{letter * 8}-1111-2222-3333-444444444444" for letter in "abc")
SLICES = [f"MIG-{number * 8}-5555-6666-7777-888888888888" for number in "12"]

# Claims a GPU, prints its name, and holds it until standard input closes.
HOLD = """
import os, sys
from pathlib import Path
from headsplat.runtime import gpu
from headsplat.runtime.errors import UserError
gpu.LOCKS = Path(sys.argv[1])
try:
    GPU = gpu.claim_gpu(float(sys.argv[2]))
except UserError as error:
    sys.exit(f"error: {error}")
assert GPU is None or os.environ["CUDA_VISIBLE_DEVICES"] == GPU
print(GPU, flush=True)
sys.stdin.read()
"""


class Machine:
    """A simulated machine: `nvidia-smi`, PyTorch with or without CUDA, and the lock folder."""

    def __init__(self, folder: Path):
        self.folder, self.jobs = folder, []
        (folder / "bin").mkdir()
        (folder / "site" / "torch" / "lib").mkdir(parents=True)
        (folder / "site" / "torch" / "__init__.py").touch()
        self.torch_part = folder / "site" / "torch" / "lib" / "libtorch_cuda.so"
        self.torch_part.touch()

    def driver(self, listing: str, status: int = 0) -> None:
        program = self.folder / "bin" / "nvidia-smi"
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{listing}END\nexit {status}\n")
        program.chmod(0o755)

    def gpus(self, *uuids: str) -> None:
        self.driver("".join(f"GPU {i}: NVIDIA H100 (UUID: {u})\n" for i, u in enumerate(uuids)))

    def job(self, visible: str | None = None, wait: float = 60.0) -> subprocess.Popen[str]:
        environment = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
        environment |= {
            "PATH": f"{self.folder / 'bin'}:/usr/bin:/bin",
            "PYTHONPATH": f"{self.folder / 'site'}:{LIBRARY}",
        }
        if visible is not None:
            environment["CUDA_VISIBLE_DEVICES"] = visible
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(self.folder / "locks"), str(wait)],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        self.jobs.append(process)
        return process


@pytest.fixture
def machine(tmp_path):
    machine = Machine(tmp_path)
    yield machine
    for process in machine.jobs:
        process.kill()
        process.communicate()


def claimed(process: subprocess.Popen[str]) -> str:
    return process.stdout.readline().strip()


def test_jobs_get_gpus_of_their_own_and_the_next_waits_for_any_of_them(machine):
    machine.gpus(A, B)
    first, second = machine.job(), machine.job()
    assert {claimed(first), taken := claimed(second)} == {A, B}
    third = machine.job()
    time.sleep(1.5)
    assert third.poll() is None
    second.send_signal(signal.SIGKILL)
    assert claimed(third) == taken
    assert first.poll() is None


def test_waiting_ends_in_one_line(machine):
    machine.gpus(A)
    first = machine.job()
    assert claimed(first) == A
    second = machine.job(wait=0.2)
    _, said = second.communicate(timeout=30)
    assert second.returncode == 1
    assert said.startswith("error: none of 1 GPUs became free")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("1", ["1"]),
        ("2,0", ["2", "0"]),
        (B, [B]),
        (B[:12], [B[:12]]),
        ("0,-1,1", ["0"]),
        ("7,0", []),
        ("", []),
        ("-1", []),
        ("none", []),
        ("0,0", ["0"]),
    ],
)
def test_a_given_choice_is_kept(machine, visible, expected):
    machine.gpus(A, B, C)
    for name in expected:
        assert claimed(machine.job(visible)) == name
    if not expected:
        assert claimed(machine.job(visible)) == "None"


def test_an_index_and_a_uuid_mean_one_gpu(machine):
    """As in a batch job, where the GPU with the UUID B may be number 0."""
    machine.gpus(A, B)
    assert claimed(machine.job("1")) == "1"
    assert machine.job(B, wait=0.1).wait(30) == 1
    machine.gpus(B)
    assert machine.job("0", wait=0.1).wait(30) == 1


def test_slices_of_a_gpu_are_claimed_one_by_one(machine):
    lines = [f"GPU 0: NVIDIA H100 (UUID: {A})"]
    lines += [f"  MIG 3g.40gb     Device  {i}: (UUID: {name})" for i, name in enumerate(SLICES)]
    machine.driver("\n".join([*lines, f"GPU 1: NVIDIA H100 (UUID: {B})"]) + "\n")
    assert {claimed(machine.job()) for _ in range(3)} == {*SLICES, B}
    assert machine.job(SLICES[1], wait=0.1).wait(30) == 1
    older = f"MIG-{A}/1/0"
    assert claimed(machine.job(older)) == older


def test_cpu_jobs_claim_no_gpu(machine):
    machine.gpus(A)
    machine.torch_part.unlink()
    assert claimed(machine.job()) == "None"
    machine.torch_part.touch()
    assert claimed(machine.job()) == A


def test_no_driver_is_no_gpu(machine):
    assert claimed(machine.job()) == "None"
    machine.driver("NVIDIA-SMI has failed because it could not talk to the driver\n", status=9)
    assert claimed(machine.job()) == "None"


def test_a_released_gpu_is_free_again(machine, monkeypatch, tmp_path):
    machine.gpus(A)
    monkeypatch.setattr(gpu, "LOCKS", tmp_path / "locks")
    monkeypatch.setattr(gpu, "torch_can_use_gpus", lambda: True)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    gpu._listed.cache_clear()
    try:
        assert gpu.claim_gpu() == A
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
        assert machine.job(wait=0.1).wait(30) == 1
        gpu.release_gpu()
        assert claimed(machine.job()) == A
    finally:
        gpu._listed.cache_clear()


@pytest.mark.parametrize(
    ("shares", "device", "claims"),
    [(True, "auto", True), (True, "cpu", False), (False, "auto", False)],
)
def test_choosing_a_device_claims_a_gpu_in_a_stage_that_shares_them(
    machine, monkeypatch, tmp_path, shares, device, claims
):
    """What only reads its arguments, or computes on the CPU, waits for no GPU."""
    machine.gpus(A)
    monkeypatch.setattr(gpu, "LOCKS", tmp_path / "locks")
    monkeypatch.setattr(gpu, "torch_can_use_gpus", lambda: True)
    monkeypatch.setattr(gpu, "_claims", False)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    gpu._listed.cache_clear()
    try:
        if shares:
            gpu.claim_where_used()
        assert gpu._held is None
        choose_device(device)
        assert (gpu._held is not None) == claims
        assert os.environ.get("CUDA_VISIBLE_DEVICES") == (A if claims else None)
        held = gpu._held
        choose_device(device)
        assert gpu._held == held
    finally:
        gpu.release_gpu()
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)
        gpu._listed.cache_clear()


def test_the_locks_serve_every_user_of_the_machine(machine, tmp_path):
    machine.gpus(A)
    before = os.umask(0o077)
    try:
        assert claimed(machine.job()) == A
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "locks").stat().st_mode) == 0o1777
    (lock,) = (tmp_path / "locks").iterdir()
    assert lock.name == f"{A}.lock"
    assert stat.S_IMODE(lock.stat().st_mode) == 0o644


def test_invalid_lock_folder_ends_in_one_line(machine, tmp_path):
    machine.gpus(A)
    (tmp_path / "locks").write_text("")
    _, said = machine.job().communicate(timeout=30)
    assert said.startswith("error: ")
    assert len(said.splitlines()) == 1
