"""Memory that ran out, whoever says so, is one line that a user can act on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from headsplat.runtime.errors import UserError
from headsplat.runtime.memory import memory_error
from tests.conftest import PYTHON_PATH

from .test_stopping import HEADER

MEMORY = {
    "numpy": "import numpy\n        numpy.ones(1 << 50)",
    "torch": "import torch\n        torch.ones(1 << 46)",
    "system": "import mmap\n        mmap.mmap(-1, 1 << 60)",
    "python": "bytearray(1 << 60)",
}


@pytest.mark.parametrize("whose", MEMORY)
def test_memory_that_ran_out_is_one_line(tmp_path: Path, whose: str) -> None:
    code = f"""
def main():
    try:
        {MEMORY[whose]}
    finally:
        ready()
stage(main)
"""
    environment = os.environ | {"PYTHONPATH": PYTHON_PATH}
    command = [sys.executable, "-c", HEADER + code, str(tmp_path)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert run.returncode == 1
    assert run.stderr.startswith("error: the memory ran out: this stage took ")
    assert run.stderr.count("\n") == 1


def test_a_gpu_that_ran_out_is_told_apart() -> None:
    said = "CUDA out of memory. Tried to allocate 9.00 GiB. GPU 0 has a total capacity of 8 GiB"
    line = str(memory_error(RuntimeError(said)))
    assert line.startswith(
        "the GPU is out of memory (CUDA out of memory. Tried to allocate 9.00 GiB)"
    )


def test_other_errors_are_left_alone() -> None:
    assert memory_error(ValueError("7 is no shape")) is None
    assert memory_error(OSError(5, "Input/output error")) is None
    assert memory_error(UserError("the memory of an elephant: cannot allocate memory")) is None
