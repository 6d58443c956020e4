"""Jobs on one machine share its GPUs and memory, unless the user says how many and how much."""

import os
import re
import subprocess
import sys

import pytest

from tests.workflow.conftest import Checkout

LISTING = "".join(f"GPU {i}: NVIDIA H100 (UUID: GPU-{i}{i}{i}{i})\n" for i in range(2))


@pytest.mark.parametrize(
    ("arguments", "gpus", "memory"),
    [([], 2, None), (["--resources", "gpu=1", "mem_mb=1234"], 1, 1234)],
)
def test_limits(checkout: Checkout, tmp_path, arguments, gpus, memory) -> None:
    smi = tmp_path / "nvidia-smi"
    smi.write_text(f"#!/bin/sh\ncat <<'END'\n{LISTING}END\n")
    smi.chmod(0o755)
    # A PyTorch with its CUDA part, as far as the workflow looks; this target's job imports none.
    library = tmp_path / "torch" / "lib" / "libtorch_cuda.so"
    library.parent.mkdir(parents=True)
    library.touch()
    (tmp_path / "torch" / "__init__.py").touch()
    environment = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
    result = subprocess.run(
        [sys.executable, "-m", "snakemake", "assets_check", "--cores", "2", *arguments],
        cwd=checkout.folder, capture_output=True, text=True, timeout=120,
        env={
            **environment, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(tmp_path),
        },
    )  # fmt: skip
    said = result.stdout + result.stderr
    assert result.returncode == 0, said
    provided = re.search(r"Provided resources: (.*)", said)[1]
    assert re.search(rf'"?gpu"?\W+{gpus}\b', provided)
    found = int(re.search(r'"?mem_mb"?\W+(\d+)', provided)[1])
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e6
    assert found == memory if memory else 0 < found < machine
