"""Find or build the shared library of the operators, and load it once per process.

Order: the installed package `headsplat_cuda_ext`, if it was built for this PyTorch and serves the
GPU and the processor; a library compiled earlier (`library`); a new build. If CUDA kernels cannot
be built, a library for the CPU is built, and the reason is stored.
"""

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from headsplat.gaussians.raster import library
from headsplat.runtime.device import choose_device
from headsplat.runtime.errors import UserError
from headsplat.runtime.fingerprint import file_digest
from headsplat.runtime.gpu import release_gpu
from headsplat.runtime.logs import log

PACKAGE = "headsplat_cuda_ext"
# A link to the repository's cuda_ext/; in a wheel, a copy of its compiler driver and sources.
_SOURCES = "headsplat._cuda_ext.toolchain"
_REBUILD = "pip install ./cuda_ext rebuilds it"
# Of a package's build.json.
_DAMAGE = (AttributeError, KeyError, RecursionError, TypeError, ValueError)
_loaded: dict[str, Any] | None = None


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
    """Compilers, flags and GPU architectures of a build here, and why it omits CUDA despite a GPU.

    Raises:
        UserError: TORCH_CUDA_ARCH_LIST is wrong.
    """
    toolchain = _toolchain()
    try:
        return toolchain.plan(_torch_facts(toolchain))
    except toolchain.BuildError as error:
        raise UserError(f"headsplat's operators: {error}") from error


def is_built() -> bool:
    """Whether `load` needs no compilation.

    Raises:
        UserError: TORCH_CUDA_ARCH_LIST is wrong, and there is no installed package.
    """
    package, _ = _installed()
    if package is not None and not package["no_cuda"]:
        return True
    toolchain, wanted = _toolchain(), plan()
    return library.find(toolchain, wanted, wanted.torch.gpus) is not None


def _find() -> dict[str, Any]:
    package, unfit = _installed()
    if package is not None and not package["no_cuda"]:
        try:
            return _open(package)
        except UserError as error:
            log.warning("%s: not used", error)
            package, unfit = None, str(error)
    toolchain = _toolchain()
    try:
        plan = toolchain.plan(_torch_facts(toolchain))
        if plan.torch.gpus or plan.targets:
            try:
                if (found := _for_gpus(toolchain, plan)) is not None:
                    return found
            except (toolchain.BuildError, UserError) as error:
                plan = plan.for_cpu(str(error))
        if package is None:
            return _open(library.find(toolchain, plan) or library.build(toolchain, plan))
        no_cuda = plan.no_cuda
    except toolchain.BuildError as error:
        if package is None:
            because = f"{unfit}; " if unfit else ""
            raise UserError(f"headsplat's operators: {because}{error}") from error
        no_cuda = str(error)
    both = f"{package['no_cuda']}, and rebuilding: {no_cuda}"
    return _open(package | {"no_cuda": both})


def _for_gpus(toolchain: ModuleType, plan: Any) -> dict[str, Any] | None:
    """A loaded library with CUDA kernels; None where none can be compiled."""
    found = library.find(toolchain, plan, plan.torch.gpus)
    if found is None and plan.targets:
        found = library.build(toolchain, plan)
    return None if found is None else _open(found)


def _open(facts: dict[str, Any]) -> dict[str, Any]:
    path = facts["library"]
    try:
        torch.ops.load_library(path)
    except OSError as error:
        # PyTorch's own message is generic; the loader's message is the cause.
        cause = str(error.__cause__ or error).removeprefix(f"{path}: ")
        remedy = _REBUILD
        if facts["key"]:
            toolkit = f", with the CUDA {torch.version.cuda} toolkit" if facts["cuda"] else ""
            remedy = f"remove {Path(path).parent} to rebuild it{toolkit}"
        raise UserError(f"{path} cannot be loaded ({cause}); {remedy}") from error
    return facts | {"torch": torch.__version__}


def _installed() -> tuple[dict[str, Any] | None, str | None]:
    """Facts of the installed package if it fits this machine, else why it does not."""
    if importlib.util.find_spec(PACKAGE) is None:
        return None, None
    wrong = no_cuda = None
    try:
        package = importlib.import_module(PACKAGE)
        abi = bool(torch.compiled_with_cxx11_abi())
        if torch.__version__ != package.TORCH:
            wrong = f"was built for torch {package.TORCH}, not {torch.__version__}"
        elif _toolchain().sources_digest() != package.SOURCES:
            wrong = "was built from other sources than this headsplat's"
        elif abi != package.CXX11_ABI:
            wrong = "was built for another C++ ABI than this PyTorch's"
        elif lacking := _lacking(package.FEATURES):
            wrong = f"needs {lacking}, which this processor lacks"
        elif file_digest(package.LIBRARY) != package.SHA256:
            wrong = "is damaged: its library was changed after it was built"
        elif torch.cuda.is_available():
            no_cuda = _lacks_gpu(package.TARGETS, package.NO_CUDA)
    except (ImportError, OSError, *_DAMAGE) as error:
        wrong = f"is broken ({error})"
    if wrong:
        log.warning("%s %s: not used (%s)", PACKAGE, wrong, _REBUILD)
        return None, f"{PACKAGE} {wrong}"
    facts = {"library": package.LIBRARY, "sha256": package.SHA256, "key": None}
    return facts | {"cuda": bool(package.TARGETS) and not no_cuda, "no_cuda": no_cuda}, None


def _lacking(needed: tuple[str, ...]) -> str:
    """Features of the processor that are missing; unknown ones count as there."""
    has = _toolchain().compilers.features()
    return ", ".join(name for name in needed if has and name not in has)


def _lacks_gpu(targets: tuple[str, ...], no_cuda: str | None) -> str | None:
    """Why a package with these GPU architectures cannot be used on the visible GPUs."""
    if not targets:
        return f"{PACKAGE} was built without CUDA kernels ({no_cuda or 'for a CPU build of torch'})"
    architectures = _toolchain().architectures
    for gpu in _gpus():
        if not architectures.serve(targets, gpu):
            had, has = architectures.described(targets), architectures.capability(gpu)
            return f"{PACKAGE} was built for compute capability {had}, and the GPU has {has}"
    return None


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
    return toolchain.Torch(
        version=torch.__version__,
        folder=str(Path(torch.__file__).parent),
        cuda=torch.version.cuda,
        gpus=_gpus(),
        cxx11_abi=bool(torch.compiled_with_cxx11_abi()),
    )


def _gpus() -> tuple[str, ...]:
    """Compute capabilities of the visible GPUs, each once, such as ("90",)."""
    if not torch.cuda.is_available():
        return ()
    found = map(torch.cuda.get_device_capability, range(torch.cuda.device_count()))
    return tuple(sorted({"".join(map(str, version)) for version in found}))
