"""Compiles the operators of `csrc/` into one shared library with nothing but the compilers.

The library registers its operators with PyTorch's dispatcher and holds no Python code, so it needs
no Python headers and no ninja. Two users share this file: `setup.py` (a wheel) and the loader in
`headsplat.raster.extension` (a library in the working folder). It imports neither torch nor
headsplat, because pip builds wheels in an environment that has neither.
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

SOURCES = Path(__file__).resolve().parent / "csrc"
LIBRARY = "headsplat_ops.so"
_CPU = ("ops.cpp", "gaussians_cpu.cpp", "triangles_cpu.cpp")
_CUDA = ("ops_cuda.cpp", "gaussian_lists.cu", "gaussians_cuda.cu", "triangles_cuda.cu")
# Contraction is off because forward and backward must take the same decisions; the kernels
# say where they want a fused multiply-add.
_CXX_FLAGS = [
    "-O3",
    "-march=native",
    "-std=c++20",
    "-ffp-contract=off",
    "-fPIC",
    "-fopenmp",
    "-Wno-psabi",
]
_NVCC_FLAGS = ["-O3", "-std=c++20", "--fmad=false", "-Xcompiler", "-fPIC"]

_PROBE = """
import json, os, torch
card = torch.cuda.is_available()
print(json.dumps({
    "version": torch.__version__,
    "folder": os.path.dirname(torch.__file__),
    "cuda": torch.version.cuda,
    "arch": "".join(map(str, torch.cuda.get_device_capability())) if card else None,
    "cxx11_abi": bool(torch.compiled_with_cxx11_abi()),
}))
"""


class BuildError(Exception):
    """The library cannot be built here: one line that says what to install or set."""


@dataclass(frozen=True)
class Torch:
    """What a build must know of the PyTorch it is for."""

    version: str
    folder: str
    cuda: str | None
    arch: str | None
    cxx11_abi: bool

    @classmethod
    def of_environment(cls) -> "Torch":
        """The PyTorch of this interpreter's environment, also from pip's isolated build."""
        # -I drops the PYTHONPATH with which pip hides the environment it installs into.
        probe = subprocess.run(
            [sys.executable, "-I", "-c", _PROBE], capture_output=True, text=True, check=False
        )
        if probe.returncode:
            raise BuildError(f"{sys.executable} has no usable PyTorch: install torch first")
        return cls(**json.loads(probe.stdout.splitlines()[-1]))


@dataclass(frozen=True)
class Plan:
    """Compilers and flags of one build; `key` names its result."""

    torch: Torch
    cxx: str
    nvcc: str | None
    no_cuda: str | None  # why the card cannot be used, when there is one
    processor: str

    @property
    def cuda(self) -> bool:
        """Whether the CUDA kernels are part of the library."""
        return self.nvcc is not None

    @property
    def key(self) -> str:
        """Hash of everything the library's bytes depend on."""
        digest = hashlib.sha256()
        facts = asdict(self.torch) | {"folder": None, "processor": self.processor}
        facts |= {"cuda": self.cuda, "flags": [_CXX_FLAGS, _NVCC_FLAGS]}
        digest.update(json.dumps(facts, sort_keys=True).encode())
        for path in sorted(SOURCES.iterdir()):
            digest.update(path.name.encode() + path.read_bytes())
        return digest.hexdigest()[:16]


def _first_line(command: list[str]) -> str:
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    return run.stdout.splitlines()[0] if run.returncode == 0 and run.stdout else ""


def _processor() -> str:
    # -march=native: a library made on one machine of a cluster may not run on another.
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    flags = [line for line in lines if line.startswith(("flags", "Features"))]
    return platform.machine() + (flags[0].split(":", 1)[1] if flags else "")


def _find_nvcc() -> str | None:
    homes = [os.environ.get(name) for name in ("CUDA_HOME", "CUDA_PATH")] + ["/usr/local/cuda"]
    candidates = [str(Path(home) / "bin" / "nvcc") for home in homes if home] + ["nvcc"]
    return next((found for found in map(shutil.which, candidates) if found), None)


def plan(torch: Torch) -> Plan:
    """Find the compilers; CUDA kernels are built when PyTorch sees a card that they can run on.

    Raises:
        BuildError: no C++ compiler.
    """
    cxx = shutil.which(os.environ.get("CXX", "g++"))
    if cxx is None:
        raise BuildError("no C++ compiler: install g++ 11 or newer, or set CXX to one")
    nvcc = no_cuda = None
    if torch.cuda and torch.arch:
        nvcc = _find_nvcc()
        if int(torch.arch) < 70:
            no_cuda = f"the GPU has compute capability {torch.arch}; 70 or newer is needed"
        elif nvcc is None:
            no_cuda = f"no nvcc: install the CUDA {torch.cuda} toolkit, or set CUDA_HOME to it"
    return Plan(torch, cxx, None if no_cuda else nvcc, no_cuda, _processor())


def _run(command: list[str]) -> None:
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        lines = (run.stderr or run.stdout).strip().splitlines()
        cause = next((line for line in lines if "error" in line), lines[-1] if lines else "killed")
        raise BuildError(f"{Path(command[0]).name} failed ({cause.strip()}): {' '.join(command)}")


def _runtime(cxx: str) -> list[str]:
    # A compiler may come with a static C++ runtime only. Two runtimes in one process cannot throw
    # to each other, so the shared one, which PyTorch uses, is named before the compiler's default.
    found = _first_line([cxx, "-print-file-name=libstdc++.so.6"])
    return ["-shared-libgcc", *([found] if Path(found).is_absolute() else [])]


def build(plan: Plan, folder: Path) -> Path:
    """Compile and link into `folder`; returns the library.

    Raises:
        BuildError: a compiler failed; its first error is quoted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    include = [f"-I{Path(plan.torch.folder) / 'include'}"]
    abi = [f"-D_GLIBCXX_USE_CXX11_ABI={int(plan.torch.cxx11_abi)}"]
    libraries = [f"-L{Path(plan.torch.folder) / 'lib'}", "-lc10", "-ltorch_cpu", "-ltorch"]
    names = list(_CPU)
    if plan.nvcc:
        toolkit = Path(plan.nvcc).resolve().parents[1]
        include.append(f"-I{toolkit / 'include'}")
        libraries += ["-lc10_cuda", "-ltorch_cuda", f"-L{toolkit / 'lib64'}", "-lcudart"]
        names += _CUDA

    def compile_one(name: str) -> str:
        out = str(folder / f"{name}.o")
        if name.endswith(".cu"):
            target = f"-gencode=arch=compute_{plan.torch.arch},code=sm_{plan.torch.arch}"
            command = [plan.nvcc, *_NVCC_FLAGS, target, "-ccbin", plan.cxx]
        else:
            command = [plan.cxx, *_CXX_FLAGS, *abi, *include]
        _run([*command, "-c", str(SOURCES / name), "-o", out])
        return out

    with ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
        objects = list(pool.map(compile_one, names))
    library = folder / LIBRARY
    _run(
        [
            plan.cxx,
            "-shared",
            "-fopenmp",
            *objects,
            *libraries,
            *_runtime(plan.cxx),
            "-o",
            str(library),
        ]
    )
    for path in objects:
        Path(path).unlink()
    return library
