"""Claiming a GPU: a lock file per GPU that dies with the process that holds it.

Snakemake's resource `gpu` counts GPUs and does not say which. Here each job finds its own, among
those that CUDA_VISIBLE_DEVICES leaves it: a batch system's choice, or the user's. Locks are named
by the GPU's UUID, because an index means another GPU inside another container or batch job.
Formats: `nvidia-smi -L`; CUDA Programming Guide, CUDA_VISIBLE_DEVICES.
"""

import ctypes
import fcntl
import functools
import importlib.util
import logging
import os
import re
import shutil
import stat
import subprocess
import time
from pathlib import Path

from headsplat.runtime.errors import UserError
from headsplat.runtime.heartbeat import beat

# One for all users of a machine, and never in TMPDIR, which differs between jobs.
LOCKS = Path("/tmp/headsplat-gpus")
WAIT = 24 * 3600.0
_POLL = 0.5
_GPU = re.compile(r"GPU \d+: .*\(UUID: (GPU-[^)]+)\)")
_MIG = re.compile(r"\s+MIG .*\(UUID: (MIG-[^)]+)\)")

log = logging.getLogger("headsplat")
_held: int | None = None


@functools.cache
def _listed() -> tuple[tuple[str, tuple[str, ...]], ...]:
    """(UUID, UUIDs of its MIG slices) of every GPU that the driver shows, by its index."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    try:
        listing = subprocess.run(
            [program, "-L"], capture_output=True, text=True, check=True, timeout=60
        ).stdout
    except (OSError, subprocess.SubprocessError):  # no driver behind it
        return ()
    gpus: list[tuple[str, tuple[str, ...]]] = []
    for line in listing.splitlines():
        if found := _GPU.match(line):
            gpus.append((found[1], ()))
        elif gpus and (found := _MIG.match(line)):
            gpus[-1] = (gpus[-1][0], (*gpus[-1][1], found[1]))
    return tuple(gpus)


def visible_gpus() -> dict[str, str]:
    """Name for CUDA_VISIBLE_DEVICES -> name of the lock, for each GPU this process may use.

    CUDA reads a list up to its first invalid entry, and sees one slice of a GPU in MIG mode.
    """
    listed = _listed()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return {name: name for uuid, slices in listed for name in slices or (uuid,)}
    if not listed and not _driver():
        return {}
    gpus = {}
    for entry in (part.strip() for part in visible.split(",")):
        lock = _lock_name(entry, listed)
        if lock is None or lock in gpus.values():
            break
        gpus[entry] = lock
    return gpus


def _lock_name(entry: str, listed: tuple[tuple[str, tuple[str, ...]], ...]) -> str | None:
    """The UUID behind an index, UUID, beginning of a UUID, or MIG name; None if it is none."""
    names = [name for uuid, slices in listed for name in (uuid, *slices)]
    if entry.isdigit():
        if not listed:  # a container without nvidia-smi
            return f"index-{entry}"
        if int(entry) >= len(listed):
            return None
        uuid, slices = listed[int(entry)]
        return slices[0] if slices else uuid
    if not re.fullmatch(r"(GPU|MIG)-[\w./-]+", entry):
        return None
    matches = [name for name in names if name.startswith(entry)]
    if matches:
        return matches[0] if len(matches) == 1 else None
    # MIG's older names, MIG-GPU-<uuid>/<instance>/<slice>, are not listed by newer drivers.
    return entry.replace("/", "_") if entry.startswith("MIG-") or not listed else None


def _driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def torch_can_use_gpus() -> bool:
    """Whether the installed PyTorch has its CUDA part; PyTorch itself is not imported."""
    spec = importlib.util.find_spec("torch")
    folders = spec.submodule_search_locations if spec else None
    return any(Path(folder, "lib", "libtorch_cuda.so").exists() for folder in folders or ())


def gpu_count() -> int:
    """GPUs that jobs started by this process can claim; 0 where they compute on the CPU."""
    return len(visible_gpus()) if torch_can_use_gpus() else 0


def _open_lock(folder: Path, name: str) -> int:
    """A descriptor of the lock file, which any user may lock and none can replace."""
    path = folder / f"{name}.lock"
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        # Without O_CREAT: Linux refuses it on another user's file in a folder like /tmp.
        return os.open(path, flags)
    except FileNotFoundError:
        pass
    try:
        handle = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:  # another job was quicker
        return os.open(path, flags)
    os.fchmod(handle, 0o644)  # whatever the umask is, others may open it to lock it
    return handle


def lock_folder() -> Path:
    """The folder of the locks, made on first use as one that all users of the machine share.

    Raises:
        UserError: something else is in its place.
    """
    try:
        LOCKS.mkdir()
        LOCKS.chmod(0o1777)
    except FileExistsError:
        pass
    # The maker may stand between its two calls.
    for _ in range(20):
        if stat.S_ISDIR(LOCKS.lstat().st_mode) and os.access(LOCKS, os.W_OK):
            return LOCKS
        time.sleep(0.05)
    raise UserError(f"{LOCKS}, where GPUs are claimed, is not writable; remove it")


def claim_gpu(wait: float = WAIT) -> str | None:
    """Claim one free GPU and make it the only one this process sees.

    Must run before torch is imported. While all are taken it waits for whichever is free first. The
    stage's log says which it became.

    Args:
        wait: seconds after which waiting is given up.

    Returns:
        The GPU's name in CUDA_VISIBLE_DEVICES, or None where there is none, or PyTorch cannot use
        it: what computes on the CPU takes no GPU.

    Raises:
        UserError: no GPU became free in time.
    """
    global _held
    gpus = list(visible_gpus().items()) if torch_can_use_gpus() else []
    if not gpus:
        log.info("GPU: none, computing on the CPU")
        return None
    folder = lock_folder()
    start = time.monotonic()
    told = False
    while True:
        for name, lock in gpus:
            handle = _open_lock(folder, lock)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                continue
            _held = handle  # open for the rest of this process's life
            os.environ["CUDA_VISIBLE_DEVICES"] = name
            log.info("GPU: %s", name)
            return name
        if time.monotonic() - start > wait:
            raise UserError(
                f"none of {len(gpus)} GPUs became free in {wait:.0f} s; see who holds "
                f"the files in {folder} (fuser -v {folder}/*), or give Snakemake --resources gpu=N"
            )
        if not told:
            log.info("all %d GPUs are taken; waiting for the first that is free", len(gpus))
            told = True
        beat("waiting for a GPU")
        time.sleep(_POLL)


def release_gpu() -> None:
    """Give the claimed GPU back, once it is clear that this process computes on the CPU."""
    global _held
    if _held is not None:
        os.close(_held)
        _held = None
