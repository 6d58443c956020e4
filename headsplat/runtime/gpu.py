"""Claiming a graphics card: a lock file per card that dies with the process that holds it.

Snakemake's resource `gpu` counts cards and does not say which. Here each job finds its own, among
those that CUDA_VISIBLE_DEVICES leaves it: a batch system's choice, or the user's. Locks are named
by the card's UUID, because an index means another card inside another container or batch job.
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
LOCKS = Path("/tmp/headsplat-cards")
WAIT = 24 * 3600.0
_POLL = 0.5
_GPU = re.compile(r"GPU \d+: .*\(UUID: (GPU-[^)]+)\)")
_MIG = re.compile(r"\s+MIG .*\(UUID: (MIG-[^)]+)\)")

log = logging.getLogger("headsplat")
_held: int | None = None


@functools.cache
def _listed() -> tuple[tuple[str, tuple[str, ...]], ...]:
    """(UUID, UUIDs of its MIG slices) of every card that the driver shows, by its index."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    try:
        listing = subprocess.run(
            [program, "-L"], capture_output=True, text=True, check=True, timeout=60
        ).stdout
    except (OSError, subprocess.SubprocessError):  # no driver behind it
        return ()
    cards: list[tuple[str, tuple[str, ...]]] = []
    for line in listing.splitlines():
        if found := _GPU.match(line):
            cards.append((found[1], ()))
        elif cards and (found := _MIG.match(line)):
            cards[-1] = (cards[-1][0], (*cards[-1][1], found[1]))
    return tuple(cards)


def visible_cards() -> dict[str, str]:
    """Name for CUDA_VISIBLE_DEVICES -> name of the lock, for each card this process may use.

    CUDA reads a list up to its first invalid entry, and sees one slice of a card in MIG mode.
    """
    listed = _listed()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return {name: name for uuid, slices in listed for name in slices or (uuid,)}
    if not listed and not _driver():
        return {}
    cards = {}
    for entry in (part.strip() for part in visible.split(",")):
        lock = _lock_name(entry, listed)
        if lock is None or lock in cards.values():
            break
        cards[entry] = lock
    return cards


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


def torch_can_use_cards() -> bool:
    """Whether the installed PyTorch has its CUDA part; PyTorch itself is not imported."""
    spec = importlib.util.find_spec("torch")
    folders = spec.submodule_search_locations if spec else None
    return any(Path(folder, "lib", "libtorch_cuda.so").exists() for folder in folders or ())


def card_count() -> int:
    """Cards that jobs started by this process can claim; 0 where they compute on the CPU."""
    return len(visible_cards()) if torch_can_use_cards() else 0


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
    raise UserError(f"{LOCKS}, where graphics cards are claimed, is not writable; remove it")


def claim_card(wait: float = WAIT) -> str | None:
    """Claim one free card and make it the only one this process sees.

    Must run before torch is imported. While all are taken it waits for whichever is free first. The
    stage's log says which it became.

    Args:
        wait: seconds after which waiting is given up.

    Returns:
        The card's name in CUDA_VISIBLE_DEVICES, or None where there is none, or PyTorch cannot use
        it: what computes on the CPU takes no card.

    Raises:
        UserError: no card became free in time.
    """
    global _held
    cards = list(visible_cards().items()) if torch_can_use_cards() else []
    if not cards:
        log.info("card: none, computing on the CPU")
        return None
    folder = lock_folder()
    start = time.monotonic()
    told = False
    while True:
        for name, lock in cards:
            handle = _open_lock(folder, lock)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                continue
            _held = handle  # open for the rest of this process's life
            os.environ["CUDA_VISIBLE_DEVICES"] = name
            log.info("card: %s", name)
            return name
        if time.monotonic() - start > wait:
            raise UserError(
                f"none of {len(cards)} graphics cards became free in {wait:.0f} s; see who holds "
                f"the files in {folder} (fuser -v {folder}/*), or give Snakemake --resources gpu=N"
            )
        if not told:
            log.info(
                "all %d graphics cards are taken; waiting for the first that is free", len(cards)
            )
            told = True
        beat("waiting for a GPU")
        time.sleep(_POLL)


def release_card() -> None:
    """Give the claimed card back, once it is clear that this process computes on the CPU."""
    global _held
    if _held is not None:
        os.close(_held)
        _held = None
