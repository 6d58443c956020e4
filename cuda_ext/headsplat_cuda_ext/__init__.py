"""headsplat's operators, built for one PyTorch: where the library is and what it is for."""

import json
from pathlib import Path

_folder = Path(__file__).resolve().parent
_facts = json.loads((_folder / "build.json").read_text())

LIBRARY: str = str(_folder / "headsplat_ops.so")
SHA256: str = _facts["sha256"]
TORCH: str = _facts["torch"]
# Compute capability of the GPU it holds kernels for, as in "90"; None without kernels, and why.
ARCH: str | None = _facts["arch"]
NO_CUDA: str | None = _facts["no_cuda"]
