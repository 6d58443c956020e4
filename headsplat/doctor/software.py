"""Check the compilers of the operators, and packages that link against system libraries."""

import importlib
import importlib.util
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from headsplat.doctor.finding import Finding, fails, ok, warning

# A test program with the operators' requirements: C++20, threads, a shared library.
_PROGRAM = """
#include <span>
#ifdef _OPENMP
#include <omp.h>
int threads() { return omp_get_max_threads(); }
#endif
"""
_FLAGS = ["-std=c++20", "-fPIC", "-shared", "-x", "c++"]
_PATIENCE = 120  # seconds for the test program
# The operators' own search; by name, because it is data of the package, see pyproject.toml.
_SEARCH = "headsplat._cuda_ext.compilers"
_FIX = "install g++ 11 or newer (Debian: apt-get install g++), or set CXX to one"
# Module -> fix if it does not load.
LIBRARIES = (
    ("cv2", "install opencv-contrib-python-headless again, and no other package of OpenCV"),
    ("ai_edge_litert", "install ai-edge-litert again; the version of requirements.lock is tested"),
    ("torch", "install torch again; the version of requirements.lock is tested"),
    ("av", "install av again; the version of requirements.lock is tested"),
)


def check_cxx() -> Iterator[Finding]:
    """Compile a test program with the compiler of the operators."""
    path, name = importlib.import_module(_SEARCH).find_cxx()
    if path is None and importlib.util.find_spec("headsplat_cuda_ext") is not None:
        yield ok("C++ compiler", f"{name} is not there; the installed operators need none")
        return
    if path is None:
        yield fails("C++ compiler", f"{name} is not there", _FIX)
        return
    try:
        with_openmp = _complaint(path, "-fopenmp")
        without = None if with_openmp is None else _complaint(path)
    except subprocess.TimeoutExpired:
        yield fails("C++ compiler", f"{path} does not end within {_PATIENCE} s", _FIX)
        return
    if without is not None:
        yield fails("C++ compiler", f"{path} fails ({without})", _FIX)
    elif with_openmp is not None and sys.platform != "darwin":  # there PyTorch brings OpenMP
        fix = "install the compiler's OpenMP (Debian: libomp-dev for Clang), or set CXX to g++"
        yield warning("C++ compiler", f"{path} has no OpenMP, so one thread computes", fix)
    else:
        said = _version(path)
        yield ok("C++ compiler", f"{path}: {said.splitlines()[0] if said else 'works'}")


def _complaint(compiler: str, *flags: str) -> str | None:
    """First error of a compiler about the test program; None if it takes it."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "trial.cpp")
        source.write_text(_PROGRAM)
        command = [compiler, *flags, *_FLAGS, str(source), "-o", str(source.with_suffix(".so"))]
        run = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE)
    if run.returncode == 0:
        return None
    errors = (line for line in run.stderr.splitlines() if "error" in line)
    return next(errors, run.stderr).strip()[:200]


def _version(compiler: str) -> str:
    """Output of `--version`; empty if the compiler does not run."""
    try:
        return subprocess.run(
            [compiler, "--version"], capture_output=True, text=True, timeout=_PATIENCE
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def check_nvcc(nvcc: str | None, wanted: str) -> Iterator[Finding]:
    """The CUDA compiler of a machine with a GPU.

    Args:
        nvcc: path of nvcc, or None.
        wanted: CUDA version of PyTorch.
    """
    fix = f"install the CUDA {wanted} toolkit, or set CUDA_HOME to it; until then the CPU computes"
    if nvcc is None:
        yield warning("CUDA compiler", "no nvcc", fix)
        return
    said = _version(nvcc)
    found = re.search(r"release (\d+)\.(\d+)", said)
    if found is None:
        yield warning("CUDA compiler", f"{nvcc} does not say its version", fix)
    elif found[1] != wanted.split(".")[0]:
        yield warning("CUDA compiler", f"{nvcc} is of CUDA {found[1]}.{found[2]}", fix)
    else:
        yield ok("CUDA compiler", f"{nvcc}: CUDA {found[1]}.{found[2]}")


def check_libraries() -> Iterator[Finding]:
    """Import packages that link against system libraries."""
    broken = 0
    for module, fix in LIBRARIES:
        if module == "ai_edge_litert" and importlib.util.find_spec(module) is None:
            yield ok(module, "not installed; training needs none, detection does")
            continue
        try:
            importlib.import_module(module)
        except (ImportError, OSError) as error:
            broken += 1
            yield fails(module, f"does not load ({error})", fix)
    if not broken:
        loaded = (module for module, _ in LIBRARIES if module in sys.modules)
        yield ok("libraries", ", ".join(loaded) + " load")
