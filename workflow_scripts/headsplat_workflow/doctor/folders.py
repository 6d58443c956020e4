"""Doctor checks of the working folder's disks: write access, free space, renames, locks, clock."""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from headsplat.doctor.finding import Finding, fails, ok, warning

FOLDERS = (".snakemake", "work", "results", "scratch", "logs")
_SKEW = 2.0  # seconds; Snakemake compares modification times
_LEAST_MIB = 200
# Tries from a second process to take a lock that this one holds. Network disks that only emulate
# locks appear to work within one process.
_TAKE_LOCK = """
import fcntl, sys
try:
    fcntl.flock(open(sys.argv[1], "a"), fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit(7)
"""


def check_folders(need_mib: float, folders: Sequence[str] = FOLDERS) -> Iterator[Finding]:
    """Check each disk that the folders lie on.

    Args:
        need_mib: estimated disk use of all subjects, MiB.
        folders: relative to the working folder; missing ones are checked at their nearest parent.
    """
    disks: dict[int, list[str]] = {}
    for name in folders:
        place = _existing(Path(name))
        disks.setdefault(place.stat().st_dev, []).append(name)
    for names in disks.values():
        refused = [name for name in names if not os.access(_existing(Path(name)), os.W_OK)]
        if refused:
            fix = "give this user the right to write there, or work in another folder"
            yield fails("folders", f"{', '.join(refused)}: cannot be written", fix)
            continue
        where = ", ".join(names)
        yield _room(where, _existing(Path(names[0])), need_mib)
        yield from _trial(where, _existing(Path(names[0])))


def _existing(path: Path) -> Path:
    """The folder itself, or its nearest existing parent."""
    path = path.absolute()
    while not path.is_dir():
        path = path.parent
    return path


def _room(where: str, place: Path, need_mib: float) -> Finding:
    disk = shutil.disk_usage(place)
    free = disk.free >> 20
    says = f"{where}: {free / 1024:.1f} GiB free; all subjects need about {need_mib / 1024:.1f}"
    if free < _LEAST_MIB:
        return fails("disk space", says, "free some space")
    if free < need_mib:
        return warning("disk space", says, "free some space, or run fewer subjects at a time")
    return ok("disk space", says)


def _trial(where: str, place: Path) -> Iterator[Finding]:
    try:
        with tempfile.TemporaryDirectory(prefix=".doctor-", dir=place) as folder:
            yield from (check(where, Path(folder)) for check in (_rename, _lock, _clock))
    except OSError as error:
        yield fails("folders", f"{where}: {error.strerror}", "check the disk, or use another one")


def _rename(where: str, folder: Path) -> Finding:
    old, new = folder / "state", folder / ".state.tmp"
    old.write_text("old")
    with open(new, "w") as handle:
        handle.write("new")
        handle.flush()
        start = time.monotonic()
        os.fsync(handle.fileno())
    os.replace(new, old)
    seconds = time.monotonic() - start
    if old.read_text() != "new" or new.exists():
        fix = "put the working folder on a disk with atomic renames"
        return fails("rename", f"{where}: the old file is still there", fix)
    if seconds > 1:
        fix = "expect slow saving, or put the working folder on a faster disk"
        return warning("rename", f"{where}: sync and rename took {seconds:.1f} s", fix)
    return ok("rename", f"{where}: synced and replaced in {1000 * seconds:.0f} ms")


def _lock(where: str, folder: Path) -> Finding:
    fix = "put the working folder on a disk with file locks, or never start two runs in this folder"
    with open(folder / "lock", "a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return fails("file locks", f"{where}: refused ({error.strerror})", fix)
        command = [sys.executable, "-I", "-S", "-c", _TAKE_LOCK, handle.name]
        held = subprocess.run(command, capture_output=True, timeout=10).returncode
    if held != 7:
        return fails("file locks", f"{where}: two processes can hold the same lock", fix)
    return ok("file locks", f"{where}: hold between processes")


def _clock(where: str, folder: Path) -> Finding:
    before = time.time()
    (folder / "now").touch()
    dated = (folder / "now").stat().st_mtime
    off = max(before - dated, dated - time.time(), 0.0)
    if off > _SKEW:
        fix = "synchronize the clocks of this machine and of the disk's server (NTP)"
        return fails(
            "clock",
            f"{where}: time stamps of files differ by {off:.0f} s from this machine's clock",
            fix,
        )
    return ok(
        "clock", f"{where}: {time.strftime('%Y-%m-%d %H:%M:%S %Z')}; time stamps of files agree"
    )
