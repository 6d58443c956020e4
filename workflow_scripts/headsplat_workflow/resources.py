"""What a stage's job asks of its machine: memory, minutes and disk, by its frames and its attempt.

A job that failed may have run out of one of them, so each attempt asks for more of the host, and
training for less of its GPU.
"""

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from headsplat_workflow.stages import need_of

from headsplat.runtime.memory import memory_limit_mib
from headsplat.video.timeline import FPS

# Of a machine's memory, what Snakemake itself and the system keep, MiB.
_KEPT_MIB = 700
# A talking head at 25 fps and 1 Mbit/s, about the least that is used: a frame never takes fewer.
_FRAME_BYTES = 5000
# After these an unprobed clip is looked at again; planning asks three times per job.
_LOOK_SECONDS = 5.0
# `n_frames` stands before the long lists of a video.json.
_HEADER_BYTES = 4096


def _of(pair: tuple[int, int], frames: float) -> float:
    return pair[0] + pair[1] * frames / 1000


def memory_mb(stage: str, frames: float, attempt: int = 1) -> int:
    """Megabytes of memory; a retry asks for half as much again of the first, each time."""
    mib = _of(need_of(stage).mem, frames)
    return int(mib * 1.048576 * (1 + attempt) / 2)


def minutes(stage: str, frames: float, attempt: int = 1) -> int:
    """Minutes after which the job is surely stuck; twice, three times that for retries."""
    return int(_of(need_of(stage).minutes, frames) * attempt)


def disk_mb(stage: str, frames: float) -> int:
    """Megabytes of disk that the job fills."""
    return int(_of(need_of(stage).disk, frames) * 1.048576) + 1


def gpu_percent(attempt: int = 1) -> int:
    """Share of the GPU's free memory that images may take: half, a tenth, nothing."""
    return {1: 50, 2: 10}.get(attempt, 0)


def machine_memory_mb(limit_mib: int | None = None) -> int:
    """Megabytes that the jobs of this machine may take together.

    Args:
        limit_mib: of the control group, MiB; None asks the kernel.
    """
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // (1 << 20)
    limit = memory_limit_mib() if limit_mib is None else limit_mib
    total = machine if limit is None else min(machine, limit)
    return int(max(total - _KEPT_MIB, total // 2) * 1.048576)


def probed_frames(info: Path) -> int | None:
    """Frames of a clip by its `video.json`, whose beginning alone is read; None without it.

    A number that no clip has is none: a job that asks for more than any machine has never starts.
    """
    try:
        with open(info, "rb") as file:
            found = re.search(rb'"n_frames":\s*(\d{1,7})\b', file.read(_HEADER_BYTES))
    except OSError:
        return None
    return int(found[1]) if found else None


def frames_by_size(video: Path, longest: int = 30_000) -> int:
    """A generous guess at the frames of a video that was not probed; twenty minutes at most."""
    try:
        return min(video.stat().st_size // _FRAME_BYTES, longest)
    except OSError:
        return 0


class ClipFrames:
    """Frames of clips by subject.

    Args:
        seconds: subject -> estimated seconds of its clip.
    """

    def __init__(self, seconds: Callable[[str], float]) -> None:
        self._seconds = seconds
        self._probed: dict[str, int] = {}
        self._looked: dict[str, float] = {}

    def of(self, subject: str) -> float:
        """Frames of a subject's clip at `FPS`; those of `video.json` once it exists."""
        if (
            subject not in self._probed
            and time.monotonic() - self._looked.get(subject, -9) > _LOOK_SECONDS
        ):
            self._looked[subject] = time.monotonic()
            found = probed_frames(Path("work", subject, "video.json"))
            if found is not None:
                self._probed[subject] = found
        if subject in self._probed:
            return self._probed[subject]
        return self._seconds(subject) * FPS
