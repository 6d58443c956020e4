"""The compiled operators of headsplat: path of the library, and what it was built for."""

import json
from pathlib import Path

_folder = Path(__file__).resolve().parent
_facts = json.loads((_folder / "build.json").read_text())

LIBRARY: str = str(_folder / "headsplat_ops.so")
SHA256: str = _facts["sha256"]
TORCH: str = _facts["torch"]
CXX11_ABI: bool = _facts["cxx11_abi"]
SOURCES: str = _facts["sources"]  # SHA-256
# GPU architectures, e.g. ("80", "90", "ptx90"); empty without CUDA kernels, with the reason below.
TARGETS: tuple[str, ...] = tuple(_facts["targets"])
NO_CUDA: str | None = _facts["no_cuda"]
# Features that the processor must have, as Linux names them.
FEATURES: tuple[str, ...] = tuple(_facts["features"])
