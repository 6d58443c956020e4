"""The doctor's checks on defects made for the test."""

import hashlib
import importlib
import json
import os
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from headsplat_workflow import system_check
from headsplat_workflow.assets.needs import Need
from headsplat_workflow.doctor.folders import check_folders
from headsplat_workflow.doctor.requirements import (
    check_files,
    check_memory,
    check_snakemake,
    clip_frames,
    needed_mib,
)
from headsplat_workflow.subjects import Subject

from headsplat.doctor import gpu, networks, operators
from headsplat.doctor.examine import examine
from headsplat.doctor.finding import FAILS, OK, WARNING, Finding, fails, ok, warning
from headsplat.doctor.machine import check_machine
from headsplat.doctor.software import check_cxx, check_libraries, check_nvcc
from headsplat.gaussians.raster import extension
from headsplat.runtime.errors import UserError
from headsplat.runtime.failures import user_error
from tests.conftest import PYTHON_PATH
from tests.disks import mounted
from tests.unit.video_files import make_video

SCRIPTS = Path(__file__).resolve().parents[2] / "workflow_scripts"


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def states(found: list[Finding]) -> list[str]:
    return [finding.state for finding in found]


def test_a_compiler_is_tried_and_not_only_looked_up(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    assert states(list(check_cxx())) == [OK]
    monkeypatch.setenv("CXX", str(script(tmp_path / "old", "echo 'error: no -std=c++20'; exit 1")))
    (found,) = check_cxx()
    assert found.state == FAILS
    serial = script(
        tmp_path / "serial",
        'case " $* " in *" -fopenmp "*) echo "error: no omp.h" >&2; exit 1;; esac\nexec g++ "$@"',
    )
    monkeypatch.setenv("CXX", str(serial))
    (found,) = check_cxx()
    assert found.state == WARNING
    assert "has no OpenMP, so one thread computes" in found.says
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(tmp_path))
    (found,) = check_cxx()
    assert found.line.startswith("C++ compiler: g++ is not there; install g++ 11")


def test_the_check_after_installation_names_what_is_missing(tmp_path, monkeypatch, capsys) -> None:
    assert system_check.main() == 0
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert system_check.main() == 1
    assert "error: C++ compiler: g++ is not there" in capsys.readouterr().out


def test_nvcc_of_another_cuda(tmp_path: Path) -> None:
    nvcc = script(tmp_path / "nvcc", "echo 'Cuda compilation tools, release 11.8, V11.8.89'")
    (found,) = check_nvcc(str(nvcc), "12.8")
    assert found.state == WARNING
    assert "is of CUDA 11.8; install the CUDA 12.8 toolkit" in found.line
    assert states(list(check_nvcc(str(nvcc), "11.6"))) == [OK]
    assert states(list(check_nvcc(None, "12.8"))) == [WARNING]


def control_group(folder: Path, limit: str) -> Path:
    """A process's files that put it into a control group with this limit."""
    (folder / "fs/job").mkdir(parents=True)
    (folder / "fs/job/memory.max").write_text(limit)
    (folder / "cgroup").write_text("0::/job\n")
    (folder / "mountinfo").write_text(f"30 23 0:26 / {folder}/fs rw - cgroup2 cgroup2 rw\n")
    return folder


@pytest.mark.parametrize(
    ("mib", "state", "says", "of_library"),
    [
        (900, FAILS, "(control group: 900 MiB)", WARNING),
        (3000, WARNING, "speak_motion, requests", OK),
        ("max", OK, "", OK),
    ],
)
def test_memory_of_the_control_group(tmp_path: Path, mib, state, says, of_library) -> None:
    limit = mib if mib == "max" else str(mib << 20)
    group = control_group(tmp_path, limit)
    (for_jobs,) = check_memory(500, group)
    assert for_jobs.state == state
    assert says in for_jobs.says
    found = {f.what: f for f in check_machine(group)}
    assert found["memory"].state == of_library
    assert (f"limited to {mib} MiB" in found["memory"].says) == (mib != "max")
    assert found["cores"].state == (OK if len(os.sched_getaffinity(0)) > 1 else WARNING)
    assert found["shared memory"].state == OK


def test_the_folder_of_temporary_files_is_looked_at(tmp_path: Path, monkeypatch) -> None:
    with mounted(tmp_path / "small", 1) as disk:
        monkeypatch.setattr("tempfile.tempdir", str(disk))
        found = {f.what: f for f in check_machine()}["temporary files"]
        assert found.state == WARNING
        assert found.says == f"{disk}: 0.0 GiB free"
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert {f.what: f for f in check_machine()}["temporary files"].state == OK


def test_one_core_is_few(tmp_path: Path) -> None:
    usable = os.sched_getaffinity(0)
    os.sched_setaffinity(0, [min(usable)])
    try:
        found = {f.what: f for f in check_machine()}
    finally:
        os.sched_setaffinity(0, usable)
    assert found["cores"].state == WARNING


def test_folders_keep_their_promises_and_nothing_stays(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "work").mkdir()
    found = list(check_folders(10.0))
    assert states(found) == [OK] * 4, found
    assert {f.what for f in found} == {"disk space", "rename", "file locks", "clock"}
    assert [path.name for path in tmp_path.rglob("*")] == ["work"]
    found = list(check_folders(1e12))
    assert [f.what for f in found if f.state == WARNING] == ["disk space"]


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch) -> None:
    with mounted(tmp_path / "disk", 1) as disk:
        monkeypatch.chdir(disk)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        (found,) = check_folders(1.0)
        assert found.state == FAILS
        assert found.says == ".snakemake, work, results, scratch, logs: cannot be written"
        monkeypatch.chdir(tmp_path)


def test_a_full_disk_under_one_of_the_folders(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with mounted(tmp_path / "results", 1) as disk:
        (disk / "filler").write_bytes(bytes((1 << 20) - 4096))
        found = list(check_folders(1.0))
        here, there = (
            [f for f in found if ("results" in f.says) == full] for full in (False, True)
        )
        assert states(here) == [OK] * 4
        assert [f.what for f in there if f.state == FAILS][0] == "disk space"
        assert [path.name for path in disk.iterdir()] == ["filler"]


def test_a_lock_is_tried_between_processes(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    # As on a disk whose locks hold within a machine or not at all: the second process gets it.
    monkeypatch.setattr("headsplat_workflow.doctor.folders._TAKE_LOCK", "pass")
    found = [f for f in check_folders(1.0) if f.what == "file locks"]
    assert states(found) == [FAILS]


def test_assets_that_are_missing_or_broken(tmp_path: Path) -> None:
    (tmp_path / "empty.tar").write_bytes(b"")
    needs = [
        Need("mica", tmp_path / "mica.tar", True),
        Need("ict", tmp_path / "empty.tar", True),
        Need("rvm", tmp_path / "rvm.pth", False),
    ]
    found = list(check_files(needs, tmp_path / "record.json"))
    assert states(found) == [FAILS, FAILS, OK]
    assert "mica.tar: is missing; get it at http" in found[0].line
    assert "empty.tar: is empty; get it at http" in found[1].line
    assert found[2].says.startswith("0 present; 1 optional")


def test_operators_draw_or_say_why_not(tmp_path: Path) -> None:
    center, corner = operators.draw_one("cpu")
    assert center.tolist() == pytest.approx([0.15, 0.3, 0.6], abs=1e-5)
    assert corner.tolist() == [0, 0, 0]
    code = (
        "from headsplat.doctor.operators import check_operators\n"
        "for found in check_operators():\n    print(found.state, found.line)"
    )
    environment = {**os.environ, "PYTHONPATH": PYTHON_PATH}
    environment |= {"HEADSPLAT_EXT_DIR": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""}
    before = time.monotonic()
    folder = tmp_path / extension.plan().key
    folder.mkdir()
    # None, one that was damaged and is compiled anew, one that is as it was written and useless.
    for library, noted, expected in (
        (None, "", "ok operators: not compiled yet"),
        (b"?", "another", "ok operators: not compiled yet"),
        (b"?", hashlib.sha256(b"?").hexdigest(), "FAILS operators"),
    ):
        if library is not None:
            (folder / "headsplat_ops.so").write_bytes(library)
            (folder / "headsplat_ops.json").write_text(json.dumps({"sha256": noted}))
        run = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True
        )
        assert run.stdout.startswith(expected), run.stdout + run.stderr
    (tmp_path / "file").touch()
    environment["HEADSPLAT_EXT_DIR"] = str(tmp_path / "file/operators")
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert run.stdout.startswith("FAILS operators: not compiled yet, and ")
    assert "file/operators cannot be written; set HEADSPLAT_EXT_DIR" in run.stdout
    assert time.monotonic() - before < 60, "nothing was compiled"


def test_a_wrong_pixel_is_noticed(monkeypatch) -> None:
    monkeypatch.setattr(operators, "_OPACITY", 0.5)
    drawn = operators.draw_one("cpu")
    monkeypatch.undo()
    monkeypatch.setattr(operators, "draw_one", lambda device: drawn)
    assert operators._draws("cpu").state == FAILS


@pytest.mark.parametrize(
    "said",
    ["| NVIDIA-SMI 550.54  Driver Version: 550.54.15  CUDA Version: 12.4 |", "no devices"],
)
def test_a_driver_whose_gpu_pytorch_does_not_see(tmp_path, monkeypatch, said) -> None:
    script(tmp_path / "nvidia-smi", f"echo '{said}'")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: False)
    found = list(gpu.check_gpus())
    if "Driver" in said:
        assert states(found) == [OK, WARNING]
        assert "550.54.15, for CUDA up to 12.4" in found[0].says
        assert found[1].fix
    else:
        assert states(found) == [OK]


def test_onnx_runs_and_the_detector_is_held_to_the_image(tmp_path, monkeypatch) -> None:
    found = list(networks.check_onnx())
    assert OK in states(found)
    assert FAILS not in states(found)
    assert states(list(networks.check_detector())) == [OK]
    face = networks.drawn_face()
    monkeypatch.setattr(networks, "drawn_face", lambda: np.full_like(face, 128))
    (found,) = networks.check_detector()
    assert found.line.startswith("face detector: finds 0 faces where one is drawn; reinstall")
    monkeypatch.setattr(networks, "drawn_face", lambda: np.roll(face, 20, axis=1))
    (found,) = networks.check_detector()
    assert "not where a face was drawn" in found.says
    (tmp_path / "face_landmarker.task").write_bytes(b"<!DOCTYPE html>")
    monkeypatch.setenv("HEADSPLAT_MODELS", str(tmp_path))
    (found,) = networks.check_detector()
    assert found.line.startswith(f"face detector: {tmp_path}/face_landmarker.task: has 15 bytes")
    assert found.line.endswith("; delete it and run 'headsplat models'")


def test_onnx_runtime_is_not_needed(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    (found,) = networks.check_onnx()
    assert found.state == OK
    assert "not installed; RobustVideoMatting and BiSeNet need it: pip install" in found.says
    for module in ("parse_network", "onnx_session", "face_parsers", "rvm_inference"):
        for package in ("masks", "networks"):
            monkeypatch.delitem(sys.modules, f"headsplat.{package}.{module}", raising=False)
    with pytest.raises(ModuleNotFoundError) as missing:
        importlib.import_module("headsplat.masks.parse_network")
    line = str(user_error(missing.value))
    assert line.startswith("the package onnxruntime is not installed; pip install")


def test_software(monkeypatch) -> None:
    (found,) = check_snakemake()
    assert "logger-plugin-rich" in found.says
    assert states(list(check_libraries())) == [OK]
    monkeypatch.setattr(
        "headsplat.doctor.software.LIBRARIES", (("no_such_module", "install it"), ("av", "x"))
    )
    assert states(list(check_libraries())) == [FAILS]


def test_frames_and_space_of_a_table(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_video(tmp_path / "a.mp4", range(60), Fraction(1, 30))
    (tmp_path / "b.mp4").write_bytes(bytes(50_000))
    (tmp_path / "work/c").mkdir(parents=True)
    (tmp_path / "work/c/video.json").write_text('{"n_frames": 77}')
    subjects = {name: Subject(name, f"{name}.mp4") for name in "abcd"}
    frames = clip_frames(subjects | {"demo": Subject("demo", "builtin")}, 12)
    assert frames == [pytest.approx(50, abs=2), 10, 77, 0, 300]
    assert needed_mib(frames * 3) == pytest.approx(3 * needed_mib(frames))


def test_the_table_and_its_status(capsys) -> None:
    def breaks():
        yield ok("first", "is well")
        raise OSError("the disk went away")

    def hangs():
        yield ok("second", "is well")
        time.sleep(30)

    found = examine({"b": hangs, "c": lambda: iter([warning("slow", "is slow", "buy")])}, 1.0)
    assert states(found) == [OK, WARNING, WARNING]
    said = capsys.readouterr().out
    assert "b                       warning  no answer in time" in said
    assert "warning: slow: is slow; buy" in said
    assert "1 of 3 are well" in said
    with pytest.raises(UserError) as error:
        examine({"a": breaks, "d": lambda: iter([fails("x", "is broken", "mend it")])}, 1.0)
    assert str(error.value) == (
        "a: OSError: the disk went away; install it again\nerror: x: is broken; mend it"
    )
