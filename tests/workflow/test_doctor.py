"""`snakemake doctor` prints a table on a working machine, and fixes on a broken one."""

import os

import pytest

from .conftest import Checkout

pytestmark = pytest.mark.slow
ROWS = (
    "Snakemake", "memory for jobs", "disk space", "rename", "file locks", "clock", "subjects",
    "assets", "headsplat", "cores", "memory", "shared memory", "temporary files", "C++ compiler",
    "libraries", "GPU", "operators", "ONNX Runtime", "face detector",
)  # fmt: skip


def test_doctor_on_a_working_and_on_a_broken_machine(checkout: Checkout, monkeypatch) -> None:
    before = sum(os.times()[2:4])
    result = checkout.snakemake("doctor")
    # CPU time, because wall time is meaningless on a busy machine.
    seconds = sum(os.times()[2:4]) - before
    assert result.returncode == 0, result.stdout + result.stderr
    rows = result.stdout.splitlines()
    for name in ROWS:
        assert any(row.startswith(name) and row[24:].split()[0] == "ok" for row in rows), name
    assert rows[-1].endswith("are well; headsplat can run")
    assert seconds < 20
    for folder in ("work", "results", "scratch"):
        assert not (checkout.folder / folder / "demo").exists()

    # A head whose files are missing, and no compiler.
    with (checkout.folder / "config/subjects.tsv").open("a") as table:
        table.write("me\tbuiltin\tflame\tpreview\n")
    monkeypatch.setenv("CXX", "no-such-compiler")
    result = checkout.snakemake("doctor")
    assert result.returncode == 1
    said = result.stdout + result.stderr
    assert "error: C++ compiler: no-such-compiler is not there; install g++ 11" in said
    assert "error: asset flame_model: " in said
    assert "generic_model.pkl: is missing; get it at https://flame" in said
    assert "Traceback" not in said
