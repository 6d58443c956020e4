"""Find or build the shared library of the operators, and load it once per process.

Order: the installed package `headsplat_cuda_ext`, if it was built for this PyTorch and serves the
GPU; a library built earlier in `folder()`; a new build there. A library's key hashes its sources,
PyTorch, compiler flags, GPU architecture and processor. An edited kernel or another machine
therefore never loads a stale library. The SHA-256 beside each library detects damage, which would
crash the process on loading; a damaged library is rebuilt. A build holds a file lock, released by
the operating system when the process ends. Concurrent processes wait for one build.

If CUDA kernels cannot be built, a library for the CPU is built, and the reason is stored. A failed
CUDA build is recorded beside the libraries, so that it is not repeated, unless memory or disk space
ran out.
"""

import fcntl
import importlib
import importlib.util
import os
import shutil
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
# A link to the repository's cuda_ext/; in a wheel, a copy of its compiler driver and sources.
_SOURCES = "headsplat._cuda_ext.toolchain"
_POLL = 0.2  # seconds between checks of another process's build
_loaded: dict[str, Any] | None = None


def folder() -> Path:
    """Where built libraries are kept.

    HEADSPLAT_EXT_DIR if set; in a checkout `work/cuda_ext`; else `headsplat/cuda_ext` in the user's
    cache folder (XDG_CACHE_HOME, default `~/.cache`).
    """
    chosen = os.environ.get("HEADSPLAT_EXT_DIR")
    if chosen:
        return Path(chosen)
    if (ROOT / "Snakefile").is_file():
        return ROOT / "work" / "cuda_ext"
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification: a relative path is ignored.
    cache = cache if cache.is_absolute() else Path.home() / ".cache"
    return cache / "headsplat" / "cuda_ext"


def load() -> dict[str, Any]:
    """Load the operators, building them first where needed.

    Returns:
        {library, sha256, torch, cuda, no_cuda, key}: the file, its hash, its PyTorch, whether it
        supports the GPU, the reason if not, and its key (None for an installed package).

    Raises:
        UserError: it can neither be found nor built; the message says what to install or set.
    """
    global _loaded
    if _loaded is None:
        _loaded = _find()
    return _loaded


def serving_device(name: str) -> torch.device:
    """The device of a stage that calls the operators: `choose_device`, if they support the GPU.

    The operators are loaded, and built if needed, only if a GPU is visible.

    Args:
        name: `auto` falls back to the CPU with a warning if the operators do not support the GPU;
            `cpu` or `cuda`.

    Raises:
        UserError: `cuda` was requested, but there is no GPU or the operators do not support it.
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
    """Compilers and flags of a build here, and why it omits CUDA despite a GPU.

    Raises:
        UserError: there is no C++ compiler.
    """
    toolchain = _toolchain()
    try:
        return toolchain.plan(_torch_facts(toolchain))
    except toolchain.BuildError as error:
        raise UserError(f"headsplat's operators: {error}") from error


def is_built() -> bool:
    """Whether `load` needs no compilation.

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
    both = f"{package['no_cuda']}, and rebuilding: {no_cuda}"
    return _open(package | {"no_cuda": both})


def _open(facts: dict[str, Any]) -> dict[str, Any]:
    library = facts["library"]
    try:
        torch.ops.load_library(library)
    except OSError as error:
        # PyTorch's own message is generic; the loader's message is the cause.
        cause = str(error.__cause__ or error).removeprefix(f"{library}: ")
        remedy = "pip install ./cuda_ext rebuilds it"
        if facts["key"]:
            toolkit = f", with the CUDA {torch.version.cuda} toolkit" if facts["cuda"] else ""
            remedy = f"remove {Path(library).parent} to rebuild it{toolkit}"
        raise UserError(f"{library} cannot be loaded ({cause}); {remedy}") from error
    return facts


def _installed() -> dict[str, Any] | None:
    """Facts of the installed package if it matches this PyTorch, else None with a warning."""
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
    """Why a package built for `arch` lacks GPU support: code runs on later minors only."""
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
    """Check that the loaded operators support `device`.

    Raises:
        UserError: they have no CUDA kernels; the message says why and what to do.
    """
    facts = load()
    if device.type == "cuda" and not facts["cuda"]:
        raise UserError(f"headsplat's operators lack CUDA: {facts['no_cuda']}; or use device cpu")


def _toolchain() -> ModuleType:
    # Imported by name, to exclude it from the code hash: it changes no results, so an edit must not
    # rerun stages.
    try:
        return importlib.import_module(_SOURCES)
    except ImportError as error:
        raise UserError(
            f"the sources of headsplat's operators are not there ({error}); install headsplat again"
        ) from error


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
    """Acquire the build lock; waiting counts as progress for the watchdog."""
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
        # A CPU build has no fallback, so its failure is not recorded.
        if plan.cuda and failed.is_file():
            raise toolchain.BuildError(failed.read_text().splitlines()[0])
        what = "CPU and CUDA" if plan.cuda else "CPU"
        if target.exists():
            log.warning("%s is damaged or has no checksum: rebuilding it", target)
        log.info("compiling headsplat's operators (%s), once", what)
        # A folder per process, because compilers of a killed build may still write into theirs.
        for left in target.parent.glob(f".{target.name}.*.tmp"):
            shutil.rmtree(left, ignore_errors=True)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            toolchain.build(plan, temporary)
        except toolchain.BuildError as error:
            shutil.rmtree(temporary)
            report = failed if error.lasting else failed.with_suffix(".broken-off")
            again = "; once fixed, remove that file" if plan.cuda and error.lasting else ""
            line = f"{error} (all of it in {report}{again})"
            with publish(report) as path:
                path.write_text(f"{line}\n{error.output}")
            raise toolchain.BuildError(line) from error
        # Processes that loaded the old file keep it.
        shutil.rmtree(target, ignore_errors=True)
        os.replace(temporary, target)
        for report in target.parent.glob(f"{failed.stem}.*"):
            report.unlink()
