"""Compile the operators of `csrc/` into one shared library, without Python headers or ninja.

The library registers its operators with PyTorch's dispatcher and contains no Python code, so it
serves any Python. This file and its neighbors are used by `setup.py` (a wheel of the operators
alone) and by the loader in `headsplat.gaussians.raster.extension`. The loader imports them as
`headsplat._cuda_ext`, in a checkout and in headsplat's own wheel. They import neither torch nor
headsplat, because pip builds wheels in an environment that has neither.
"""

import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from . import architectures, compilers
from .compilers import BuildError

SOURCES = Path(__file__).resolve().parent / "csrc"
LIBRARY = "headsplat_ops.so"
FACTS = "headsplat_ops.json"  # next to the library; contains its checksum and GPU architectures
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
_CXX_FLAGS = ["-O3", "-std=c++20", "-ffp-contract=off", "-fPIC", "-Wno-psabi"]
_NVCC_FLAGS = ["-O3", "-std=c++20", "--fmad=false", "-Xcompiler", "-fPIC"]

_PROBE = """
import json, os, torch
GPUS = torch.cuda.device_count() if torch.cuda.is_available() else 0
print(json.dumps({
    "version": torch.__version__,
    "folder": os.path.dirname(torch.__file__),
    "cuda": torch.version.cuda,
    "gpus": sorted({"".join(map(str, torch.cuda.get_device_capability(k))) for k in range(GPUS)}),
    "cxx11_abi": bool(torch.compiled_with_cxx11_abi()),
}))
"""


@dataclass(frozen=True)
class Torch:
    """Properties of the PyTorch that a build is for.

    Attributes:
        version: its version, with the local part, such as "2.13.0+cpu".
        folder: where it is installed.
        cuda: CUDA version it was built for; None for a CPU build.
        gpus: compute capabilities of the GPUs it sees, each once, such as ("90",).
        cxx11_abi: whether it uses the newer C++ ABI.
    """

    version: str
    folder: str
    cuda: str | None
    gpus: tuple[str, ...]
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
        facts = json.loads(probe.stdout.splitlines()[-1])
        return cls(**facts | {"gpus": tuple(facts["gpus"])})


@dataclass(frozen=True)
class Plan:
    """Compilers and flags of one build; `key` names its result.

    Attributes:
        torch: the PyTorch it is for.
        cxx: the C++ compiler; None if there is none.
        nvcc: the CUDA compiler; None if none is needed or there is none.
        targets: GPU architectures, see `architectures`; empty for a library for the CPU.
        no_cuda: why visible GPUs cannot be used.
        portable: whether the library may run on other machines' processors.
    """

    torch: Torch
    cxx: str | None
    nvcc: str | None
    targets: tuple[str, ...]
    no_cuda: str | None
    portable: bool = False

    def for_cpu(self, no_cuda: str) -> "Plan":
        """The same without CUDA kernels, for this reason."""
        return replace(self, targets=(), no_cuda=no_cuda)

    @property
    def compilers_hash(self) -> str:
        """Hash of the compilers, so that a failed build is retried when they change."""
        said = [compilers.output_of([path, "--version"]) for path in (self.cxx, self.nvcc) if path]
        flags = [os.environ.get(f"NVCC_{when}_FLAGS") for when in ("PREPEND", "APPEND")]
        facts = json.dumps([self.cxx, self.nvcc, said, flags])
        return hashlib.sha256(facts.encode()).hexdigest()[:16]

    @property
    def base(self) -> str:
        """Hash of all that the library's bytes depend on but the GPU architectures."""
        facts = asdict(self.torch) | {"folder": None, "gpus": None}
        facts |= {"processor": None if self.portable else compilers.processor()}
        facts |= {"flags": [_CXX_FLAGS, _NVCC_FLAGS, compilers.processor_flags(self.portable)]}
        text = json.dumps(facts | {"sources": sources_digest()}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def key(self) -> str:
        """Name of the library's folder: `base` and the GPU architectures."""
        return f"{self.base}-{'.'.join(self.targets) or 'cpu'}"


def plan(torch: Torch, everywhere: bool = False) -> Plan:
    """Find the compilers, and choose the GPU architectures.

    They are those of TORCH_CUDA_ARCH_LIST; else all that nvcc knows, for a build that goes to other
    machines; else those of the GPUs that PyTorch sees.

    Args:
        torch: see `Torch`.
        everywhere: the library goes to other machines, with other processors and GPUs.

    Raises:
        BuildError: TORCH_CUDA_ARCH_LIST is wrong.
    """
    cxx, _ = compilers.find_cxx()
    wanted = os.environ.get(architectures.VARIABLE, "").strip()
    cpu = Plan(torch, cxx, None, (), None, everywhere)
    if not (torch.gpus or (torch.cuda and (wanted or everywhere))):
        return cpu
    if not torch.cuda:
        return cpu.for_cpu(f"PyTorch {torch.version} is not for CUDA: install one that is")
    nvcc = compilers.find_nvcc()
    if nvcc is None:
        return cpu.for_cpu(f"no nvcc: {compilers.TOOLKIT.format(cuda=torch.cuda)}")
    known = architectures.known_to(nvcc)
    if wanted:
        targets = architectures.listed(wanted, known)
        left = [gpu for gpu in torch.gpus if not architectures.serve(targets, gpu)]
        if left and not everywhere:
            has = architectures.capability(left[0])
            return cpu.for_cpu(
                f"{architectures.VARIABLE} ({architectures.described(targets)}) leaves out this "
                f"GPU's compute capability {has}: add it, or unset the variable"
            )
    elif everywhere:
        targets = architectures.everything(known)
    else:
        try:
            targets = architectures.for_gpus(torch.gpus, known)
        except BuildError as error:
            return cpu.for_cpu(str(error))
    return replace(cpu, nvcc=nvcc, targets=targets)


def require_cxx(plan: Plan) -> None:
    """Check that there is a C++ compiler.

    Raises:
        BuildError: there is none.
    """
    if plan.cxx is None:
        what = "no C++ compiler: install g++ 11 or newer, or set CXX to one"
        raise BuildError(f"{what} ({compilers.find_cxx()[1]} is not there)")


def build(plan: Plan, folder: Path) -> Path:
    """Compile and link into `folder`; returns the library's path.

    Raises:
        BuildError: there is no C++ compiler, or a compiler failed; its first error is quoted.
    """
    require_cxx(plan)
    folder.mkdir(parents=True, exist_ok=True)
    threads = compilers.openmp_flags(plan.cxx, Path(plan.torch.folder)) or ([], [])
    torch_lib = Path(plan.torch.folder) / "lib"
    libraries = [f"-L{torch_lib}", "-lc10", "-ltorch_cpu", "-ltorch"]
    if sys.platform == "darwin":
        libraries.append(f"-Wl,-rpath,{torch_lib}")
    names = list(_CPU)
    if plan.targets:
        toolkit = Path(plan.nvcc).resolve().parents[1]
        libraries += ["-lc10_cuda", "-ltorch_cuda", f"-L{toolkit / 'lib64'}", "-lcudart"]
        names += _CUDA

    def compile_one(name: str) -> str:
        out = str(folder / f"{name}.o")
        command = _command(plan, name, threads[0])
        compilers.run_compiler([*command, "-c", str(SOURCES / name), "-o", out], plan.torch.cuda)
        return out

    with ThreadPoolExecutor(max_workers=compilers.usable_cores()) as pool:
        objects = list(pool.map(compile_one, names))
    library = folder / LIBRARY
    link = [plan.cxx, "-shared", *threads[1], *objects, *libraries]
    link += [*compilers.runtime_flags(plan.cxx), "-o", str(library)]
    compilers.run_compiler(link, plan.torch.cuda)
    for path in objects:
        Path(path).unlink(missing_ok=True)
    if not library.is_file():
        raise BuildError(f"{plan.cxx} has written nothing: set CXX to a C++ compiler")
    facts = {"sha256": sha256(library), "targets": plan.targets, "openmp": bool(threads[0])}
    (folder / FACTS).write_text(json.dumps(facts) + "\n")
    return library


def _command(plan: Plan, name: str, threads: list[str]) -> list[str]:
    """The compiler of a source file and its arguments."""
    if name.endswith(".cu"):
        # Several architectures of one file at a time, where there are more cores than files.
        files = sum(source.endswith(".cu") for source in _CUDA)
        at_once = max(1, min(compilers.usable_cores() // files, len(plan.targets)))
        flags = [*_NVCC_FLAGS, *architectures.flags(plan.targets), f"--threads={at_once}"]
        return [plan.nvcc, *flags, "-ccbin", plan.cxx]
    include = [f"-I{Path(plan.torch.folder) / 'include'}"]
    if plan.targets:
        include.append(f"-I{Path(plan.nvcc).resolve().parents[1] / 'include'}")
    abi = f"-D_GLIBCXX_USE_CXX11_ABI={int(plan.torch.cxx11_abi)}"
    return [
        plan.cxx, *_CXX_FLAGS, *compilers.processor_flags(plan.portable), *threads, abi, *include
    ]  # fmt: skip


def sources_digest() -> str:
    """SHA-256 of all sources and their names."""
    digest = hashlib.sha256()
    for path in sorted(SOURCES.iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def sha256(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def facts_of(library: Path) -> dict[str, object]:
    """What `build` noted beside a library; empty if that cannot be read."""
    try:
        noted = json.loads((library.parent / FACTS).read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return noted if isinstance(noted, dict) else {}


def targets_of(library: Path) -> tuple[str, ...]:
    """GPU architectures of a built library; empty for one for the CPU or of unknown content."""
    noted = facts_of(library).get("targets")
    targets = tuple(noted) if isinstance(noted, list) else ()
    return targets if architectures.are_targets(targets) else ()


def is_whole(library: Path) -> bool:
    """Whether a built library matches its checksum; one without a checksum does not.

    Loading a damaged library crashes the process, immediately or at a later call.
    """
    try:
        return facts_of(library).get("sha256") == sha256(library)
    except OSError:
        return False
