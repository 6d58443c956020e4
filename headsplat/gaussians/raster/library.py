"""Libraries of the operators that were compiled on first use: find one, or compile it.

A library's folder is named by a hash of its sources, PyTorch, compiler flags and processor, and by
its GPU architectures. An edited kernel or another machine therefore never loads a stale library. A
library for more GPUs serves fewer, so that a cluster's login node can compile for all nodes. The
SHA-256 beside each library detects damage, which would crash the process on loading; a damaged
library is rebuilt. A build holds a file lock, released by the operating system when the process
ends. Concurrent processes wait for one build.

A failed CUDA build is recorded beside the libraries, so that it is not repeated, unless memory or
disk space ran out.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import IO, Any

from headsplat.runtime.files import publish
from headsplat.runtime.fingerprint import file_digest
from headsplat.runtime.heartbeat import beat
from headsplat.runtime.logs import log

ROOT = Path(__file__).resolve().parents[3]
_POLL = 0.2  # seconds between checks of another process's build


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


def find(toolchain: ModuleType, plan: Any, gpus: Sequence[str] = ()) -> dict[str, Any] | None:
    """Facts of a whole library that was compiled earlier, or None.

    Args:
        toolchain: the module of `cuda_ext/`.
        plan: its `Plan`.
        gpus: compute capabilities that the library must serve, whatever else it serves; by default
            only the library of the plan's own key is looked for.
    """
    for place in sorted(folder().glob(f"{plan.base}-*"), key=lambda p: (p.name != plan.key, p)):
        library = place / toolchain.LIBRARY
        targets = toolchain.targets_of(library)
        serve = toolchain.architectures.serve
        fits = all(serve(targets, gpu) for gpu in gpus) if gpus else place.name == plan.key
        if fits and toolchain.is_whole(library):
            return _facts(library, bool(targets), None if targets else plan.no_cuda, place.name)
    return None


def build(toolchain: ModuleType, plan: Any) -> dict[str, Any]:
    """Compile a library, unless another process does; returns its facts.

    Raises:
        BuildError: of the toolchain; the message says what to install or set.
    """
    toolchain.require_cxx(plan)
    target = folder() / plan.key
    library = target / toolchain.LIBRARY
    try:
        _build(toolchain, plan, target)
    except OSError as error:
        raise toolchain.BuildError(
            f"{folder()} cannot be written ({error.strerror}): set HEADSPLAT_EXT_DIR to a "
            "folder that can"
        ) from error
    return _facts(library, bool(plan.targets), plan.no_cuda, plan.key)


def _facts(library: Path, cuda: bool, no_cuda: str | None, key: str) -> dict[str, Any]:
    return {
        "library": str(library),
        "sha256": file_digest(library),
        "cuda": cuda,
        "no_cuda": no_cuda,
        "key": key,
    }


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
        failed = target.with_name(f"{target.name}-{plan.compilers_hash}.failed")
        # A CPU build has no fallback, so its failure is not recorded.
        if plan.targets and failed.is_file():
            raise toolchain.BuildError(failed.read_text().splitlines()[0])
        what = "CPU and CUDA" if plan.targets else "CPU"
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
            shutil.rmtree(temporary, ignore_errors=True)
            report = failed if error.lasting else failed.with_suffix(".broken-off")
            again = "; once fixed, remove that file" if plan.targets and error.lasting else ""
            line = f"{error} (all of it in {report}{again})"
            with publish(report) as path:
                path.write_text(f"{line}\n{error.output}")
            raise toolchain.BuildError(line) from error
        # Processes that loaded the old file keep it.
        shutil.rmtree(target, ignore_errors=True)
        os.replace(temporary, target)
        for report in target.parent.glob(f"{failed.stem}.*"):
            report.unlink()
