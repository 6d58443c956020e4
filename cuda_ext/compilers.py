"""Find and run the compilers of the operators, and say in one line what a failure calls for."""

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

DEFAULT_HOME = "/usr/local/cuda"
_COMPILERS = ("g++", "c++", "clang++")
# Pattern in a compiler's output -> fix; {cuda} is the CUDA version of the installed PyTorch.
TOOLKIT = "install the CUDA {cuda} toolkit, or set CUDA_HOME to it"
# Errors that may not occur on another attempt.
_NO_MEMORY = r"[Kk]illed|signal 9|out of memory"
_NO_DISK = r"No space left"
_REMEDIES = (
    (
        r"unsupported (GNU|clang|Microsoft) |unsupported host compiler",
        "set CXX to an older g++, which this nvcc takes",
    ),
    (r"[Uu]nsupported gpu arch", "set CUDA_HOME to a CUDA toolkit that knows this GPU"),
    (r"for option 'std'", TOOLKIT),
    (r"(ATen|c10|torch)/\S+: No such file|cannot find -l(c10|torch)", "install torch again, whole"),
    (r"fatal error: (cu|crt|nv)\S+: No such file|cannot find -lcudart", TOOLKIT),
    (r"-std=", "install g++ 11 or newer, or set CXX to one"),
    (r"omp\.h|-fopenmp|-l[gi]?omp", "install the compiler's OpenMP, or set CXX to g++"),
    (_NO_MEMORY, "free some memory, and run the same command again"),
    (_NO_DISK, "free some disk space, and run the same command again"),
)
_OPENMP_PROGRAM = """
#include <omp.h>
int sum(int n) {
  int total = omp_get_max_threads();
#pragma omp parallel for reduction(+ : total)
  for (int i = 0; i < n; ++i) total += i;
  return total;
}
"""
# Features of the processors that `processor_flags(portable=True)` compiles for, as Linux names
# them: the level x86-64-v3, which Intel's and AMD's servers and PCs have had since about 2015.
PORTABLE_FEATURES = ("abm", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe")
_X86 = ("x86_64", "AMD64")


class BuildError(Exception):
    """The library cannot be built here; the message says what to install or set.

    Attributes:
        output: the failed command and its output; empty if none was run.
        lasting: whether the same compilers would fail again; False for want of memory or disk.
    """

    def __init__(self, line: str, output: str = "", lasting: bool = True) -> None:
        super().__init__(line)
        self.output = output
        self.lasting = lasting


def output_of(command: list[str]) -> str:
    """Standard output of a command; empty if it fails."""
    try:
        run = _run(command)
    except OSError:
        return ""
    return run.stdout.strip() if run.returncode == 0 else ""


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    # Messages in the user's language need not be UTF-8.
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)


def find_cxx() -> tuple[str | None, str]:
    """Path of the C++ compiler, or None; and its name: CXX, else the first that is there."""
    wanted = os.environ.get("CXX")
    names = (wanted,) if wanted else _COMPILERS
    found = next((path for path in map(shutil.which, names) if path), None)
    return found, names[0]


def find_nvcc() -> str | None:
    """Path of the CUDA compiler, or None."""
    homes = [os.environ.get(name) for name in ("CUDA_HOME", "CUDA_PATH")] + [DEFAULT_HOME]
    candidates = [str(Path(home) / "bin" / "nvcc") for home in homes if home] + ["nvcc"]
    return next((found for found in map(shutil.which, candidates) if found), None)


def run_compiler(command: list[str], cuda: str | None) -> None:
    """Run a compiler.

    Raises:
        BuildError: it failed; its first error is quoted, with a remedy if one is known.
    """
    name = Path(command[0]).name
    try:
        run = _run(command)
    except OSError as error:
        raise BuildError(
            f"{command[0]} does not run ({error.strerror}): install it again"
        ) from error
    if run.returncode == 0:
        return
    status = run.returncode
    silent = f"Killed by signal {-status}" if status < 0 else f"exit status {status}"
    said = (run.stdout + run.stderr).strip() or silent
    lines = said.splitlines()
    telling = re.compile(r"error|fatal|cannot find|undefined reference|[Kk]illed")
    cause = next((line.strip() for line in lines if telling.search(line)), lines[-1].strip())
    remedy = next((does for shows, does in _REMEDIES if re.search(shows, cause)), None)
    advice = f": {remedy.format(cuda=cuda)}" if remedy else ""
    lasting = not re.search(f"{_NO_MEMORY}|{_NO_DISK}", cause)
    raise BuildError(f"{name} failed ({cause}){advice}", f"{' '.join(command)}\n{said}\n", lasting)


def openmp_flags(cxx: str, torch: Path) -> tuple[list[str], list[str]] | None:
    """Arguments for compiling and for linking with OpenMP; None where the compiler has none.

    The operators then compute with one thread, and the same results.

    Args:
        cxx: the compiler.
        torch: PyTorch's folder; its macOS build brings the runtime that Apple's compiler lacks.
    """
    own = torch / "lib" / "libomp.dylib"
    ways = [(["-fopenmp"], ["-fopenmp"])]
    if own.exists():  # two runtimes in one process would not work there
        ways = [(["-Xclang", "-fopenmp", f"-I{torch / 'include'}"], [str(own)])]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "threads.cpp")
        source.write_text(_OPENMP_PROGRAM)
        for compiling, linking in ways:
            words = ["-fPIC", "-shared", *compiling, str(source), *linking]
            try:
                run_compiler([cxx, *words, "-o", str(source.with_suffix(".so"))], None)
            except BuildError as error:
                if not error.lasting:
                    raise
                continue
            return compiling, linking
    return None


def runtime_flags(cxx: str) -> list[str]:
    """Link arguments that select PyTorch's C++ runtime."""
    if sys.platform == "darwin":
        return []  # it has one only
    # A compiler may have a static C++ runtime only. Exceptions cannot cross two runtimes in one
    # process, so PyTorch's shared one precedes the compiler's default.
    found = output_of([cxx, "-print-file-name=libstdc++.so.6"])
    return ["-shared-libgcc", *([found] if Path(found).is_absolute() else [])]


def processor_flags(portable: bool) -> list[str]:
    """Arguments that select the processor to compile for.

    Args:
        portable: for other machines as well (`PORTABLE_FEATURES`), instead of this one's processor.
    """
    if platform.machine() in _X86:
        return ["-march=x86-64-v3" if portable else "-march=native"]
    return [] if portable else ["-mcpu=native"]


def processor() -> str:
    """Type and features of this machine's processor, on which native code depends."""
    return " ".join([platform.machine(), *sorted(features())])


def features() -> set[str]:
    """Features of this machine's processor, as Linux names them; empty on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    flags = [line for line in lines if line.startswith(("flags", "Features"))]
    return set(flags[0].split(":", 1)[1].split()) if flags else set()


def portable_features() -> list[str]:
    """Features that a portable build needs of the processor."""
    return list(PORTABLE_FEATURES) if platform.machine() in _X86 else []


def usable_cores() -> int:
    """Number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux only
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
