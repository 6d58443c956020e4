"""GPU claims: one lock file per GPU, released when the process that holds it ends.

Snakemake's resource `gpu` counts GPUs but does not assign them. Here each job claims a free GPU
among those in CUDA_VISIBLE_DEVICES, which a batch system or the user may have set. Locks are named
by the GPU's UUID, because indices differ between containers and batch jobs.
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

# Shared by all users of a machine. Not in TMPDIR, which differs between jobs.
LOCKS = Path("/tmp/headsplat-gpus")
WAIT = 24 * 3600.0
_POLL = 0.5
_GPU = re.compile(r"GPU \d+: .*\(UUID: (GPU-[^)]+)\)")
_MIG = re.compile(r"\s+MIG .*\(UUID: (MIG-[^)]+)\)")

log = logging.getLogger("headsplat")
_held: int | None = None
_claims = False  # whether this process claims the GPU that it uses


@functools.cache
def _listed() -> tuple[tuple[str, tuple[str, ...]], ...]:
    """(UUID, UUIDs of its MIG slices) of every GPU that nvidia-smi lists, by index."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    try:
        listing = subprocess.run(
            [program, "-L"], capture_output=True, text=True, check=True, timeout=60
        ).stdout
    except (OSError, subprocess.SubprocessError):  # nvidia-smi without a driver
        return ()
    gpus: list[tuple[str, tuple[str, ...]]] = []
    for line in listing.splitlines():
        if found := _GPU.match(line):
            gpus.append((found[1], ()))
        elif gpus and (found := _MIG.match(line)):
            gpus[-1] = (gpus[-1][0], (*gpus[-1][1], found[1]))
    return tuple(gpus)


def visible_gpus() -> dict[str, str]:
    """Name in CUDA_VISIBLE_DEVICES -> name of its lock, for each GPU this process may use.

    As in CUDA, the list ends at its first invalid entry, and a GPU in MIG mode counts as one slice.
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
    """The UUID of an index, UUID, UUID prefix or MIG name; None if the entry is invalid."""
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
    # Newer drivers do not list the older MIG names, MIG-GPU-<uuid>/<instance>/<slice>.
    return entry.replace("/", "_") if entry.startswith("MIG-") or not listed else None


def _driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def torch_can_use_gpus() -> bool:
    """Whether the installed PyTorch is a CUDA build; does not import PyTorch."""
    spec = importlib.util.find_spec("torch")
    folders = spec.submodule_search_locations if spec else None
    return any(Path(folder, "lib", "libtorch_cuda.so").exists() for folder in folders or ())


def gpu_count() -> int:
    """Number of GPUs that jobs of this process can claim; 0 if they compute on the CPU."""
    return len(visible_gpus()) if torch_can_use_gpus() else 0


def _open_lock(folder: Path, name: str) -> int:
    """Open a lock file that any user may lock and no other user can replace."""
    path = folder / f"{name}.lock"
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        # Without O_CREAT, which Linux refuses for another user's file in a sticky folder (/tmp).
        return os.open(path, flags)
    except FileNotFoundError:
        pass
    try:
        handle = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:  # another job has just created it
        return os.open(path, flags)
    os.fchmod(handle, 0o644)  # readable for others whatever the umask is
    return handle


def lock_folder() -> Path:
    """The folder of the lock files, created on first use with access for all users.

    Raises:
        UserError: it is not a writable folder.
    """
    try:
        LOCKS.mkdir()
        LOCKS.chmod(0o1777)
    except FileExistsError:
        pass
    # Another process may be between mkdir and chmod.
    for _ in range(20):
        if stat.S_ISDIR(LOCKS.lstat().st_mode) and os.access(LOCKS, os.W_OK):
            return LOCKS
        time.sleep(0.05)
    raise UserError(f"{LOCKS}, where GPUs are claimed, is not writable; remove it")


def claim_where_used() -> None:
    """From here on, choosing a device claims a GPU: for stages that share a machine's GPUs."""
    global _claims
    _claims = True


def claim_if_shared() -> None:
    """Claim a GPU now if `claim_where_used` was called and none is held; see `claim_gpu`."""
    if _claims and _held is None:
        claim_gpu()


def claim_gpu(wait: float = WAIT) -> str | None:
    """Claim one free GPU and make it the only one this process sees.

    Must run before anything asks CUDA for its devices, because CUDA reads CUDA_VISIBLE_DEVICES
    then; importing torch does not ask. If all GPUs are claimed, it
    waits for the first free one. The stage's log names the GPU.

    Args:
        wait: longest time to wait, seconds.

    Returns:
        The GPU's name in CUDA_VISIBLE_DEVICES; None without a GPU or with a CPU build of PyTorch.

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
    logged = False
    while True:
        for name, lock in gpus:
            handle = _open_lock(folder, lock)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                continue
            _held = handle  # stays open until this process ends
            os.environ["CUDA_VISIBLE_DEVICES"] = name
            log.info("GPU: %s", name)
            return name
        if time.monotonic() - start > wait:
            raise UserError(
                f"none of {len(gpus)} GPUs became free in {wait:.0f} s; see who holds "
                f"the files in {folder} (fuser -v {folder}/*), or give Snakemake --resources gpu=N"
            )
        if not logged:
            log.info("all %d GPUs are taken; waiting for the first that is free", len(gpus))
            logged = True
        beat("waiting for a GPU")
        time.sleep(_POLL)


def release_gpu() -> None:
    """Release the claimed GPU, when this process turns out to compute on the CPU."""
    global _held
    if _held is not None:
        os.close(_held)
        _held = None
