"""The compiled operators of headsplat: path of the library, and the PyTorch it was built for."""

import json
from pathlib import Path

_folder = Path(__file__).resolve().parent
_facts = json.loads((_folder / "build.json").read_text())

LIBRARY: str = str(_folder / "headsplat_ops.so")
SHA256: str = _facts["sha256"]
TORCH: str = _facts["torch"]
# Compute capability of its CUDA kernels, e.g. "90"; None without kernels, with the reason below.
ARCH: str | None = _facts["arch"]
NO_CUDA: str | None = _facts["no_cuda"]
