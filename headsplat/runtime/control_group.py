"""The memory limit that a container, a pod or a batch system puts on this process.

`/proc/meminfo` shows the whole machine even inside a container; what the kernel enforces stands in
the control group (cgroup v2: `memory.max`; v1: `memory.limit_in_bytes`), and every group above it
counts as well. Formats: the kernel's admin-guide/cgroup-v2 and cgroup-v1/memory, proc(5).
"""

import mmap
import re
from collections.abc import Iterator
from pathlib import Path

# v1 writes "no limit" as the largest multiple of a page; nothing real comes near.
_UNLIMITED = 1 << 60
# A limit is reached where this share of memory is in use, or fewer addresses are left than the
# buffer that OpenBLAS asks for, again and again, in its thread and in the next.
_FULL = 0.9
_BUFFER = 64 << 20


def memory_limit_mib(proc: Path = Path("/proc/self")) -> int | None:
    """The tightest memory limit of this process's control groups, MiB, or None without one.

    Args:
        proc: folder with the process's `cgroup` and `mountinfo`.
    """
    places = _groups(proc)
    limits = [limit for folder, name in places if (limit := _read(folder / name)) is not None]
    return min(limits) // (1 << 20) if limits else None


def memory_limit_is_reached(proc: Path = Path("/proc/self")) -> bool:
    """Whether a process has all but filled the memory or the addresses that it may have.

    There native code may try again for ever where Python would raise `MemoryError`, or wait for
    its own pages at every step. What the kernel keeps of files is not counted: it can go.

    Args:
        proc: the process's folder in `/proc`.
    """
    return _addresses_are_used(proc) or any(
        used >= _FULL * limit for limit, used in _limits_and_use(proc)
    )


def _addresses_are_used(proc: Path) -> bool:
    """Whether the limit on addresses (`ulimit -v`) leaves no room for one buffer more."""
    try:
        limits = (proc / "limits").read_text()
        pages = int((proc / "statm").read_text().split()[0])
    except OSError:
        return False
    found = re.search(r"^Max address space +(\d+)", limits, re.MULTILINE)
    return found is not None and int(found[1]) - pages * mmap.PAGESIZE < _BUFFER


def _limits_and_use(proc: Path) -> Iterator[tuple[int, int]]:
    """Of each limited control group: the limit and the memory of its processes, bytes."""
    for folder, name in _groups(proc):
        limit = _read(folder / name)
        if limit is None:
            continue
        try:
            state = (folder / "memory.stat").read_text()
        except OSError:
            continue
        # v2 has the first word, v1, of the group and those below it, the second.
        found = re.search(r"^(?:anon|total_rss) (\d+)", state, re.MULTILINE)
        if found is not None:
            yield limit, int(found[1])


def _groups(proc: Path) -> list[tuple[Path, str]]:
    """The folders of all control groups of a process, each with the name of its limit's file."""
    try:
        groups = (proc / "cgroup").read_text().splitlines()
        mounts = (proc / "mountinfo").read_text().splitlines()
    except OSError:  # not Linux, or /proc is hidden
        return []
    return [place for line in groups for place in _folders(line, mounts)]


def _folders(group: str, mounts: list[str]) -> Iterator[tuple[Path, str]]:
    """The folders from a process's group up to its mount, with the limit file's name there."""
    _, controllers, path = group.split(":", 2)
    if not controllers:
        kind, option, name = "cgroup2", "", "memory.max"
    elif "memory" in controllers.split(","):
        kind, option, name = "cgroup", "memory", "memory.limit_in_bytes"
    else:
        return
    for mount in mounts:
        # "36 35 98:0 /root /mount/point rw,... optional - type source options"
        before, _, after = mount.partition(" - ")
        root, point = before.split()[3:5]
        fields = after.split()
        if fields[0] != kind or (option and option not in fields[-1].split(",")):
            continue
        # Inside a container the mount often shows the group's own folder as its root.
        inside = Path(path).relative_to(root) if Path(path).is_relative_to(root) else Path()
        top = Path(point.replace("\\040", " "))
        folder = top / str(inside).lstrip("/")
        while True:
            yield folder, name
            if folder == top:
                break
            folder = folder.parent


def _read(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:  # the group is outside of what the container sees, or the root has no limit
        return None
    return int(text) if text.isdigit() and int(text) < _UNLIMITED else None
