"""`snakemake doctor`: a table of a machine that is well, lines with cures for one that is not."""

import os

import pytest

from .conftest import Checkout

pytestmark = pytest.mark.slow
ROWS = (
    "Snakemake", "C++ compiler", "libraries", "cores", "memory", "shared memory", "disk space",
    "rename", "file locks", "clock", "assets", "GPU", "operators", "ONNX Runtime",
    "face detector",
)  # fmt: skip


def test_a_machine_that_is_well_and_one_that_is_not(checkout: Checkout, monkeypatch) -> None:
    before = sum(os.times()[2:4])
    result = checkout.snakemake("doctor")
    # Of the processors: on a busy machine the clock says nothing.
    seconds = sum(os.times()[2:4]) - before
    assert result.returncode == 0, result.stdout + result.stderr
    rows = result.stdout.splitlines()
    for name in ROWS:
        assert any(row.startswith(name) and row[24:].split()[0] == "ok" for row in rows), name
    assert rows[-1].endswith("are well; a run can start")
    assert seconds < 20
    for folder in ("work", "results", "scratch"):
        assert not (checkout.folder / folder / "demo").exists()

    # A head whose files are not there, and no compiler.
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
