"""Finds or builds the operators' shared library and loads it, once per process.

Order: the installed package `headsplat_cuda_ext`, if it was built for this PyTorch; a library
built earlier in the working folder; a new build there. Libraries are kept by a key over sources,
PyTorch, compilers' flags, GPU architecture and processor, so an edited kernel or another machine
never meets a stale one. A build runs under a lock that the kernel drops when its process dies:
jobs that need it at once wait for one build, and a killed build blocks nobody.
"""

import fcntl
import importlib.util
import os
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from headsplat.cli import log
from headsplat.errors import UserError

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = "headsplat_cuda_ext"
_loaded: dict[str, Any] | None = None


def folder() -> Path:
    """Where built libraries live: HEADSPLAT_EXT_DIR, else work/cuda_ext of the repository."""
    return Path(os.environ.get("HEADSPLAT_EXT_DIR") or ROOT / "work" / "cuda_ext")


def load() -> dict[str, Any]:
    """Load the operators, building them first where needed.

    Returns:
        {library, torch, cuda, no_cuda, key}: the file, the PyTorch it is for, whether it holds
        CUDA kernels, why not although there is a card, and its key (None for the installed
        package).

    Raises:
        UserError: it can neither be found nor built; the line says what to install or set.
    """
    global _loaded
    if _loaded is None:
        found = _installed() or _built()
        try:
            torch.ops.load_library(found["library"])
        except OSError as error:
            raise UserError(f"{found['library']}: cannot be loaded ({error}); remove it") from error
        _loaded = found
    return _loaded


def _installed() -> dict[str, Any] | None:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None:
        return None
    package = importlib.import_module(PACKAGE)
    wrong = None
    if torch.__version__ != package.TORCH:
        wrong = f"was built for torch {package.TORCH}, not {torch.__version__}"
    elif torch.cuda.is_available() and not package.CUDA:
        wrong = "was built without CUDA kernels"
    if wrong:
        log.warning("%s %s: not used (pip install ./cuda_ext rebuilds it)", PACKAGE, wrong)
        return None
    return _facts(package.LIBRARY, package.CUDA, None, None)


def _facts(library: str, cuda: bool, no_cuda: str | None, key: str | None) -> dict[str, Any]:
    return {
        "library": library,
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


def _built() -> dict[str, Any]:
    toolchain = _toolchain()
    card = torch.cuda.is_available()
    facts = toolchain.Torch(
        version=torch.__version__,
        folder=str(Path(torch.__file__).parent),
        cuda=torch.version.cuda,
        arch="".join(map(str, torch.cuda.get_device_capability())) if card else None,
        cxx11_abi=bool(torch.compiled_with_cxx11_abi()),
    )
    try:
        plan = toolchain.plan(facts)
        target = folder() / plan.key
        if not (target / toolchain.LIBRARY).is_file():
            _build(toolchain, plan, target)
    except toolchain.BuildError as error:
        raise UserError(f"headsplat's operators: {error}") from error
    if plan.no_cuda:
        log.warning("headsplat's operators are for the CPU alone: %s", plan.no_cuda)
    return _facts(str(target / toolchain.LIBRARY), plan.cuda, plan.no_cuda, plan.key)


def _build(toolchain: ModuleType, plan: Any, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target.parent / "build.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (target / toolchain.LIBRARY).is_file():
            return  # built by the job that held the lock
        log.info(
            "compiling headsplat's operators (%s), once", "CPU and CUDA" if plan.cuda else "CPU"
        )
        temporary = target.with_name(f".{target.name}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        toolchain.build(plan, temporary)
        os.replace(temporary, target)
