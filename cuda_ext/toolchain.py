"""Compile the operators of `csrc/` into one shared library, without Python headers or ninja.

The library registers its operators with PyTorch's dispatcher and contains no Python code. This file
is used by `setup.py` (a wheel of the operators alone) and by the loader in
`headsplat.gaussians.raster.extension`. The loader imports it as `headsplat._cuda_ext.toolchain`, in
a checkout and in headsplat's own wheel. It imports neither torch nor headsplat, because pip builds
wheels in an environment that has neither.
"""

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

SOURCES = Path(__file__).resolve().parent / "csrc"
LIBRARY = "headsplat_ops.so"
FACTS = "headsplat_ops.json"  # next to the library; contains its checksum
DEFAULT_HOME = "/usr/local/cuda"
OLDEST = 70  # lowest supported compute capability
_CPU = (
    "ops.cpp",
    "gaussians_cpu.cpp",
    "triangles_cpu.cpp",
    "image_loss_cpu.cpp",
    "deformation_ops.cpp",
    "deformation_cpu.cpp",
    "harmonics_cpu.cpp",
)
_CUDA = (
    "ops_cuda.cpp",
    "gaussian_lists.cu",
    "gaussians_cuda.cu",
    "triangles_cuda.cu",
    "image_loss_cuda.cu",
    "lpips_cuda.cu",
    "deformation_ops_cuda.cpp",
    "deformation_cuda.cu",
    "harmonics_cuda.cu",
    "relu_cuda.cu",
)
# Contraction is off because forward and backward must take the same branches. The kernels use
# fused multiply-add explicitly.
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

# Pattern in a compiler's output -> fix; {cuda} is the CUDA version of the installed PyTorch.
_TOOLKIT = "install the CUDA {cuda} toolkit, or set CUDA_HOME to it"
# Errors that may not occur on another attempt.
_NO_MEMORY = r"[Kk]illed|signal 9|out of memory"
_NO_DISK = r"No space left"
_REMEDIES = (
    (
        r"unsupported (GNU|clang|Microsoft) |unsupported host compiler",
        "set CXX to an older g++, which this nvcc takes",
    ),
    (r"[Uu]nsupported gpu arch", "set CUDA_HOME to a CUDA toolkit that knows this GPU"),
    (r"for option 'std'", _TOOLKIT),
    (r"(ATen|c10|torch)/\S+: No such file|cannot find -l(c10|torch)", "install torch again, whole"),
    (r"fatal error: (cu|crt|nv)\S+: No such file|cannot find -lcudart", _TOOLKIT),
    (r"-std=", "install g++ 11 or newer, or set CXX to one"),
    (r"omp\.h|-fopenmp|-l[gi]?omp", "install the compiler's OpenMP, or set CXX to g++"),
    (_NO_MEMORY, "free some memory, and run the same command again"),
    (_NO_DISK, "free some disk space, and run the same command again"),
)

_PROBE = """
import json, os, torch
GPU = torch.cuda.is_available()
print(json.dumps({
    "version": torch.__version__,
    "folder": os.path.dirname(torch.__file__),
    "cuda": torch.version.cuda,
    "arch": "".join(map(str, torch.cuda.get_device_capability())) if GPU else None,
    "cxx11_abi": bool(torch.compiled_with_cxx11_abi()),
}))
"""


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


@dataclass(frozen=True)
class Torch:
    """Properties of the PyTorch that a build is for."""

    version: str
    folder: str
    cuda: str | None
    arch: str | None
    cxx11_abi: bool

    @classmethod
    def of_environment(cls) -> "Torch":
        """The PyTorch of this interpreter's environment, also inside pip's isolated build."""
        # -I ignores PYTHONPATH, by which pip's build isolation hides the target environment.
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
    no_cuda: str | None  # why an existing GPU cannot be used
    processor: str

    @property
    def cuda(self) -> bool:
        """Whether the CUDA kernels are part of the library."""
        return self.nvcc is not None

    @property
    def compilers(self) -> str:
        """Hash of the compilers, so that a failed build is retried when they change."""
        said = [_said([path, "--version"]) for path in (self.cxx, self.nvcc) if path]
        flags = [os.environ.get(f"NVCC_{when}_FLAGS") for when in ("PREPEND", "APPEND")]
        facts = json.dumps([self.cxx, self.nvcc, said, flags])
        return hashlib.sha256(facts.encode()).hexdigest()[:16]

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


def _said(command: list[str]) -> str:
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return run.stdout.strip() if run.returncode == 0 else ""


def _processor() -> str:
    # -march=native: a library built on one machine of a cluster may not run on another.
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    flags = [line for line in lines if line.startswith(("flags", "Features"))]
    return platform.machine() + (flags[0].split(":", 1)[1] if flags else "")


def _find_nvcc() -> str | None:
    homes = [os.environ.get(name) for name in ("CUDA_HOME", "CUDA_PATH")] + [DEFAULT_HOME]
    candidates = [str(Path(home) / "bin" / "nvcc") for home in homes if home] + ["nvcc"]
    return next((found for found in map(shutil.which, candidates) if found), None)


def plan(torch: Torch) -> Plan:
    """Find the compilers; CUDA kernels are built if PyTorch finds a supported GPU.

    Raises:
        BuildError: no C++ compiler.
    """
    wanted = os.environ.get("CXX") or "g++"
    cxx = shutil.which(wanted)
    if cxx is None:
        what = "no C++ compiler: install g++ 11 or newer, or set CXX to one"
        raise BuildError(f"{what} ({wanted} is not there)")
    nvcc = no_cuda = None
    if torch.arch:
        nvcc = _find_nvcc()
        if not torch.cuda:
            no_cuda = f"PyTorch {torch.version} is not for CUDA: install one that is"
        elif int(torch.arch) < OLDEST:
            have, need = capability(torch.arch), capability(str(OLDEST))
            no_cuda = f"the GPU has compute capability {have}; {need} or newer is needed"
        elif nvcc is None:
            no_cuda = f"no nvcc: {_TOOLKIT.format(cuda=torch.cuda)}"
    return Plan(torch, cxx, None if no_cuda else nvcc, no_cuda, _processor())


def capability(arch: str) -> str:
    """A compute capability in NVIDIA's notation: "90" is 9.0."""
    return f"{arch[:-1]}.{arch[-1]}"


def _run(command: list[str], cuda: str | None) -> None:
    name = Path(command[0]).name
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BuildError(
            f"{command[0]} does not run ({error.strerror}): install it again"
        ) from error
    if run.returncode == 0:
        return
    said = (run.stdout + run.stderr).strip() or f"Killed by signal {-run.returncode}"
    lines = said.splitlines()
    telling = re.compile(r"error|fatal|cannot find|undefined reference|[Kk]illed")
    cause = next((line.strip() for line in lines if telling.search(line)), lines[-1].strip())
    remedy = next((does for shows, does in _REMEDIES if re.search(shows, cause)), None)
    advice = f": {remedy.format(cuda=cuda)}" if remedy else ""
    lasting = not re.search(f"{_NO_MEMORY}|{_NO_DISK}", cause)
    raise BuildError(f"{name} failed ({cause}){advice}", f"{' '.join(command)}\n{said}\n", lasting)


def _runtime(cxx: str) -> list[str]:
    # A compiler may have a static C++ runtime only. Exceptions cannot cross two runtimes in one
    # process, so PyTorch's shared one precedes the compiler's default.
    found = _said([cxx, "-print-file-name=libstdc++.so.6"])
    return ["-shared-libgcc", *([found] if Path(found).is_absolute() else [])]


def build(plan: Plan, folder: Path) -> Path:
    """Compile and link into `folder`; returns the library's path.

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
        _run([*command, "-c", str(SOURCES / name), "-o", out], plan.torch.cuda)
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
        ],
        plan.torch.cuda,
    )
    for path in objects:
        Path(path).unlink()
    (folder / FACTS).write_text(json.dumps({"sha256": sha256(library)}) + "\n")
    return library


def sha256(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def is_whole(library: Path) -> bool:
    """Whether a built library matches its checksum; one without a checksum does not.

    Loading a damaged library crashes the process, immediately or at a later call.
    """
    try:
        noted = json.loads((library.parent / FACTS).read_text())
        return isinstance(noted, dict) and noted.get("sha256") == sha256(library)
    except (OSError, ValueError):
        return False
