"""The memory limit that a container, a pod or a batch system puts on this process.

`/proc/meminfo` shows the whole machine even inside a container; what the kernel enforces stands in
the control group (cgroup v2: `memory.max`; v1: `memory.limit_in_bytes`), and every group above it
counts as well. Formats: the kernel's admin-guide/cgroup-v2 and cgroup-v1/memory, proc(5).
"""

from collections.abc import Iterator
from pathlib import Path

# v1 writes "no limit" as the largest multiple of a page; nothing real comes near.
_UNLIMITED = 1 << 60


def memory_limit_mib(proc: Path = Path("/proc/self")) -> int | None:
    """The tightest memory limit of this process's control groups, MiB, or None without one.

    Args:
        proc: folder with the process's `cgroup` and `mountinfo`.
    """
    try:
        groups = (proc / "cgroup").read_text().splitlines()
        mounts = (proc / "mountinfo").read_text().splitlines()
    except OSError:  # not Linux, or /proc is hidden
        return None
    limits = [
        limit
        for line in groups
        for folder, name in _folders(line, mounts)
        if (limit := _read(folder / name)) is not None
    ]
    return min(limits) // (1 << 20) if limits else None


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
