"""Finds or builds the operators' shared library and loads it, once per process.

Order: the installed package `headsplat_cuda_ext`, if it was built for this PyTorch and serves the
GPU; a library built earlier in the working folder; a new build there. Libraries are kept by a key
over sources, PyTorch, compilers' flags, GPU architecture and processor, so an edited kernel or
another machine never meets a stale one. Each stands beside its SHA-256, because a damaged one would
end the process that loads it without a word; it is built anew. A build runs under a lock that the
kernel drops when its process dies: jobs that need it at once wait for one build, and a killed build
blocks nobody.

Where the GPU cannot be served, a library for the CPU takes its place, and says why; a failed build
with CUDA is noted beside the libraries, so that not every process tries it again, unless it failed
for want of memory or disk.
"""

import fcntl
import importlib.util
import os
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import IO, Any

import torch

from headsplat.runtime.device import choose_device
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import publish
from headsplat.runtime.fingerprint import file_digest
from headsplat.runtime.gpu import release_gpu
from headsplat.runtime.heartbeat import beat
from headsplat.runtime.logs import log

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = "headsplat_cuda_ext"
_POLL = 0.2  # seconds between looks at another job's build
_loaded: dict[str, Any] | None = None


def folder() -> Path:
    """Where built libraries live: HEADSPLAT_EXT_DIR, else work/cuda_ext of the repository."""
    return Path(os.environ.get("HEADSPLAT_EXT_DIR") or ROOT / "work" / "cuda_ext")


def load() -> dict[str, Any]:
    """Load the operators, building them first where needed.

    Returns:
        {library, sha256, torch, cuda, no_cuda, key}: the file, its hash, the PyTorch it is for,
        whether it serves the GPU, why not although there is one, and its key (None for the
        installed package).

    Raises:
        UserError: it can neither be found nor built; the line says what to install or set.
    """
    global _loaded
    if _loaded is None:
        _loaded = _find()
    return _loaded


def serving_device(name: str) -> torch.device:
    """Where a stage that calls the operators computes: `choose_device`, if they serve the GPU.

    Only a visible GPU makes this load, and maybe build, the operators.

    Args:
        name: `auto` takes the CPU, with a warning that says why, where they do not serve the GPU;
            `cpu` or `cuda`.

    Raises:
        UserError: `cuda` was asked for, and there is no GPU or they do not serve it.
    """
    device = choose_device(name)
    if device.type == "cuda" and not load()["cuda"]:
        reason = load()["no_cuda"]
        if name == "cuda":
            raise UserError(f"--device cuda: {reason}; or use --device cpu")
        log.warning("computing on the CPU: %s", reason)
        device = torch.device("cpu")
    if device.type == "cpu":
        release_gpu()
    return device


def plan() -> Any:
    """What a build would use here: compilers, flags, and why not the GPU although there is one.

    Raises:
        UserError: there is no C++ compiler.
    """
    toolchain = _toolchain()
    try:
        return toolchain.plan(_torch_facts(toolchain))
    except toolchain.BuildError as error:
        raise UserError(f"headsplat's operators: {error}") from error


def is_built() -> bool:
    """Whether `load` finds what it looks for without compiling.

    Raises:
        UserError: there is no C++ compiler, and no installed package.
    """
    package = _installed()
    if package is not None and not package["no_cuda"]:
        return True
    toolchain = _toolchain()
    return toolchain.is_whole(folder() / plan().key / toolchain.LIBRARY)


def _find() -> dict[str, Any]:
    package = _installed()
    if package is not None and not package["no_cuda"]:
        try:
            return _open(package)
        except UserError as error:
            log.warning("%s: not used", error)
            package = None
    toolchain = _toolchain()
    try:
        plan = toolchain.plan(_torch_facts(toolchain))
        if plan.cuda:
            try:
                return _open(_built(toolchain, plan))
            except (toolchain.BuildError, UserError) as error:
                plan = replace(plan, nvcc=None, no_cuda=str(error))
        if package is None:
            return _open(_built(toolchain, plan))
        no_cuda = plan.no_cuda
    except toolchain.BuildError as error:
        if package is None:
            raise UserError(f"headsplat's operators: {error}") from error
        no_cuda = str(error)
    both = f"{package['no_cuda']}, and building anew: {no_cuda}"
    return _open(package | {"no_cuda": both})


def _open(facts: dict[str, Any]) -> dict[str, Any]:
    library = facts["library"]
    try:
        torch.ops.load_library(library)
    except OSError as error:
        # PyTorch says only that it could not; the loader's own words are the cause.
        cause = str(error.__cause__ or error).removeprefix(f"{library}: ")
        remedy = "pip install ./cuda_ext rebuilds it"
        if facts["key"]:
            toolkit = f", with the CUDA {torch.version.cuda} toolkit" if facts["cuda"] else ""
            remedy = f"remove {Path(library).parent} to build it anew{toolkit}"
        raise UserError(f"{library} cannot be loaded ({cause}); {remedy}") from error
    return facts


def _installed() -> dict[str, Any] | None:
    """The installed package's facts if it is for this PyTorch, else None and a line why."""
    if importlib.util.find_spec(PACKAGE) is None:
        return None
    wrong = no_cuda = None
    try:
        package = importlib.import_module(PACKAGE)
        if torch.__version__ != package.TORCH:
            wrong = f"was built for torch {package.TORCH}, not {torch.__version__}"
        elif file_digest(package.LIBRARY) != package.SHA256:
            wrong = "is damaged: its library was changed after it was built"
        elif torch.cuda.is_available():
            no_cuda = _lacks(package.ARCH, package.NO_CUDA)
    except (ImportError, OSError, ValueError, KeyError, AttributeError) as error:
        wrong = f"is broken ({error})"
    if wrong:
        log.warning("%s %s: not used (pip install ./cuda_ext rebuilds it)", PACKAGE, wrong)
        return None
    cuda = package.ARCH is not None and not no_cuda
    return _facts(package.LIBRARY, package.SHA256, cuda, no_cuda, None)


def _lacks(arch: str | None, no_cuda: str | None) -> str | None:
    """Why a package built for `arch` does not serve the GPU: code runs on later minors only."""
    major, minor = torch.cuda.get_device_capability()
    if arch is None:
        return f"{PACKAGE} was built without CUDA kernels ({no_cuda or 'no GPU was visible'})"
    if int(arch[:-1]) != major or int(arch[-1]) > minor:
        was = f"{arch[:-1]}.{arch[-1]}"
        return f"{PACKAGE} was built for compute capability {was}, and the GPU has {major}.{minor}"
    return None


def _facts(
    library: str, sha256: str, cuda: bool, no_cuda: str | None, key: str | None
) -> dict[str, Any]:
    return {
        "library": library,
        "sha256": sha256,
        "torch": torch.__version__,
        "cuda": cuda,
        "no_cuda": no_cuda,
        "key": key,
    }


def require(device: torch.device) -> None:
    """Check that the loaded operators serve `device`.

    Raises:
        UserError: they hold no CUDA kernels; the line says why and what to do.
    """
    facts = load()
    if device.type == "cuda" and not facts["cuda"]:
        raise UserError(f"headsplat's operators lack CUDA: {facts['no_cuda']}; or use device cpu")


def _toolchain() -> ModuleType:
    path = ROOT / "cuda_ext" / "toolchain.py"
    spec = importlib.util.spec_from_file_location("headsplat_toolchain", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise UserError(f"{path.parent} is not there: pip install the repository's ./cuda_ext")
    module = importlib.util.module_from_spec(spec)
    # dataclasses look their own module up by name.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _torch_facts(toolchain: ModuleType) -> Any:
    gpu = torch.cuda.is_available()
    return toolchain.Torch(
        version=torch.__version__,
        folder=str(Path(torch.__file__).parent),
        cuda=torch.version.cuda,
        arch="".join(map(str, torch.cuda.get_device_capability())) if gpu else None,
        cxx11_abi=bool(torch.compiled_with_cxx11_abi()),
    )


def _built(toolchain: ModuleType, plan: Any) -> dict[str, Any]:
    target = folder() / plan.key
    library = target / toolchain.LIBRARY
    if not toolchain.is_whole(library):
        try:
            _build(toolchain, plan, target)
        except OSError as error:
            raise toolchain.BuildError(
                f"{folder()} cannot be written ({error.strerror}): set HEADSPLAT_EXT_DIR to a "
                "folder that can"
            ) from error
    return _facts(str(library), file_digest(library), plan.cuda, plan.no_cuda, plan.key)


def _wait_for(lock: IO[str]) -> None:
    """Hold the lock of those who compile; the one who holds it is watched himself."""
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            beat("waiting for another job to compile the operators")
            time.sleep(_POLL)


def _build(toolchain: ModuleType, plan: Any, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target.parent / "build.lock", "a") as lock:
        _wait_for(lock)
        if toolchain.is_whole(target / toolchain.LIBRARY):
            return  # built by the job that held the lock
        failed = target.with_name(f"{target.name}-{plan.compilers}.failed")
        # Without CUDA there is nothing to fall back to, and a mended machine should just go on.
        if plan.cuda and failed.is_file():
            raise toolchain.BuildError(failed.read_text().splitlines()[0])
        what = "CPU and CUDA" if plan.cuda else "CPU"
        if target.exists():
            log.warning("%s is damaged or has no checksum: building it anew", target)
        log.info("compiling headsplat's operators (%s), once", what)
        # Of this process alone: a killed build's compilers may still write into theirs.
        for left in target.parent.glob(f".{target.name}.*.tmp"):
            shutil.rmtree(left, ignore_errors=True)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            toolchain.build(plan, temporary)
        except toolchain.BuildError as error:
            shutil.rmtree(temporary)
            report = failed if error.lasting else failed.with_suffix(".broken-off")
            again = "; once mended, remove that file" if plan.cuda and error.lasting else ""
            line = f"{error} (all of it in {report}{again})"
            with publish(report) as path:
                path.write_text(f"{line}\n{error.output}")
            raise toolchain.BuildError(line) from error
        # Jobs that have the old one loaded keep it until they end.
        shutil.rmtree(target, ignore_errors=True)
        os.replace(temporary, target)
        for report in target.parent.glob(f"{failed.stem}.*"):
            report.unlink()
