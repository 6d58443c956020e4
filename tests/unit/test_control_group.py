"""The control group's memory limit, from trees of files as the kernel lays them out."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from headsplat.runtime.control_group import memory_limit_is_reached, memory_limit_mib
from tests.conftest import PYTHON_PATH

ROOT = Path(__file__).resolve().parents[2]
GIB = 1 << 30
UNLIMITED_V1 = "9223372036854771712\n"


@pytest.fixture
def proc(tmp_path: Path):
    """Writes a process's `cgroup` and `mountinfo`, and limits under the mount `fs`."""

    def write(cgroup: str, mounts: str, limits: dict[str, str]) -> Path:
        folder = tmp_path / "proc"
        folder.mkdir()
        (folder / "cgroup").write_text(cgroup)
        (folder / "mountinfo").write_text(mounts.replace("FS", str(tmp_path / "fs")))
        for path, text in limits.items():
            file = tmp_path / "fs" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return folder

    return write


V2 = "30 23 0:26 / FS rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "31 23 0:29 / FS/cpu rw - cgroup cgroup rw,cpu\n"
    "35 31 0:32 / FS/memory rw,relatime - cgroup cgroup rw,memory\n"
)


def test_v2_own_limit(proc) -> None:
    folder = proc("0::/job\n", V2, {"job/memory.max": f"{3 * GIB}\n"})
    assert memory_limit_mib(folder) == 3 * 1024


def test_v2_the_tightest_group_above_counts(proc) -> None:
    limits = {
        "slurm/job/step/memory.max": "max\n",
        "slurm/job/memory.max": f"{2 * GIB}\n",
        "slurm/memory.max": f"{8 * GIB}\n",
    }
    assert memory_limit_mib(proc("0::/slurm/job/step\n", V2, limits)) == 2 * 1024


def test_v2_without_a_limit(proc) -> None:
    assert memory_limit_mib(proc("0::/job\n", V2, {"job/memory.max": "max\n"})) is None


def test_v2_in_a_container_that_sees_its_own_group_as_the_root(proc) -> None:
    assert memory_limit_mib(proc("0::/\n", V2, {"memory.max": f"{4 * GIB}\n"})) == 4 * 1024


def test_v2_in_a_container_whose_mount_names_its_group(proc) -> None:
    mounts = V2.replace(" / FS", " /docker/abc FS")
    folder = proc("0::/docker/abc/job\n", mounts, {"job/memory.max": f"{GIB}\n"})
    assert memory_limit_mib(folder) == 1024


def test_v1_limit_and_no_limit_above(proc) -> None:
    limits = {
        "memory/job/memory.limit_in_bytes": f"{5 * GIB}\n",
        "memory/memory.limit_in_bytes": UNLIMITED_V1,
        "cpu/job/memory.limit_in_bytes": "1\n",
    }
    assert memory_limit_mib(proc("4:memory:/job\n1:cpu:/job\n0::/\n", V1, limits)) == 5 * 1024


def test_v1_without_a_limit(proc) -> None:
    limits = {"memory/memory.limit_in_bytes": UNLIMITED_V1}
    assert memory_limit_mib(proc("4:memory:/\n", V1, limits)) is None


def test_a_group_outside_of_what_the_container_sees_falls_back_to_the_mount(proc) -> None:
    mounts = V1.replace(" / FS/memory", " /docker/abc FS/memory")
    limits = {"memory/memory.limit_in_bytes": f"{6 * GIB}\n"}
    assert memory_limit_mib(proc("4:memory:/elsewhere\n", mounts, limits)) == 6 * 1024


def test_nothing_to_read_is_no_limit(tmp_path: Path) -> None:
    assert memory_limit_mib(tmp_path) is None


@pytest.mark.parametrize(("used", "reached"), [(700, False), (990, True)])
def test_memory_of_processes_reaches_the_limit_and_that_of_files_does_not(
    proc, used: int, reached: bool
) -> None:
    v2 = {"job/memory.max": f"{GIB}\n", "job/memory.stat": f"anon {used << 20}\nfile {GIB}\n"}
    assert memory_limit_is_reached(proc("0::/job\n", V2, v2)) is reached


@pytest.mark.parametrize(("used", "reached"), [(700, False), (990, True)])
def test_v1_memory_of_the_groups_below_counts(proc, used: int, reached: bool) -> None:
    v1 = {
        "memory/job/memory.limit_in_bytes": f"{GIB}\n",
        "memory/job/memory.stat": f"cache {GIB}\nrss 5\ntotal_rss {used << 20}\n",
    }
    assert memory_limit_is_reached(proc("4:memory:/job\n", V1, v1)) is reached


@pytest.mark.parametrize(("size", "reached"), [(4 * GIB, False), (40 << 20, True)])
def test_addresses_run_out(size: int, reached: bool) -> None:
    """A process of some ten MiB under the kernel's own limit."""
    child = subprocess.Popen(
        ["sleep", "60"], preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (size, size))
    )
    try:
        assert memory_limit_is_reached(Path(f"/proc/{child.pid}")) is reached
    finally:
        child.kill()
        child.wait()


def test_a_real_group_where_one_may_be_made() -> None:
    """The kernel's own files, in a child process that is put into a group of 1,000 MiB."""
    root = next(
        (p for p in (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")) if _limits(p)), None
    )
    if root is None:
        pytest.skip("this machine lets nobody make a control group with a memory limit")
    group = root / "headsplat-test"
    group.mkdir(exist_ok=True)
    try:
        _limit_file(group).write_text(str(1000 << 20))
        code = (
            f"open({str(group / 'cgroup.procs')!r}, 'w').write('0')\n"
            "from headsplat.runtime.control_group import memory_limit_mib\n"
            "print(memory_limit_mib())"
        )
        environment = {**os.environ, "PYTHONPATH": PYTHON_PATH}
        command = [sys.executable, "-c", code]
        result = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert result.stdout.strip() == "1000", result.stderr
    finally:
        group.rmdir()


def _limit_file(group: Path) -> Path:
    v1 = group / "memory.limit_in_bytes"
    return v1 if v1.exists() else group / "memory.max"


def _limits(root: Path) -> bool:
    """Whether a group below `root` can be made and would have a memory limit."""
    trial = root / "headsplat-trial"
    try:
        trial.mkdir()
    except OSError:
        return False
    try:
        return _limit_file(trial).exists()
    finally:
        trial.rmdir()
