"""Resource requests of a stage's job: memory, minutes and disk, by clip length and attempt.

A failed job may have run out of one of them. So each retry requests more memory and time, and
training uses less GPU memory.
"""

import re
import time
from collections.abc import Callable
from pathlib import Path

from headsplat_workflow.stages import need_of

from headsplat.runtime.memory import memory_limit_mib
from headsplat.runtime.system import machine_memory_mib
from headsplat.video.timeline import FPS

# Memory reserved for Snakemake and the system, MiB.
_RESERVED_MIB = 700
# Bytes of a frame at 25 fps and 1 Mbit/s, about the lowest bit rate in use.
_FRAME_BYTES = 5000
# Seconds until an unprobed clip is looked at again; planning asks three times per job.
_LOOK_SECONDS = 5.0
# `n_frames` precedes the long lists of a video.json.
_HEADER_BYTES = 4096


def _linear(pair: tuple[int, int], frames: float) -> float:
    return pair[0] + pair[1] * frames / 1000


def memory_mb(stage: str, frames: float, attempt: int = 1) -> int:
    """Megabytes of memory; each retry adds half of the first request."""
    mib = _linear(need_of(stage).mem, frames)
    return int(mib * 1.048576 * (1 + attempt) / 2)


def minutes(stage: str, frames: float, attempt: int = 1) -> int:
    """Time limit in minutes, multiplied by the attempt."""
    return int(_linear(need_of(stage).minutes, frames) * attempt)


def disk_mb(stage: str, frames: float) -> int:
    """Megabytes of disk space that the job writes."""
    return int(_linear(need_of(stage).disk, frames) * 1.048576) + 1


def gpu_percent(attempt: int = 1) -> int:
    """Percentage of the GPU's free memory for resident images, by attempt: 50, 10, then 0."""
    return {1: 50, 2: 10}.get(attempt, 0)


def machine_memory_mb(limit_mib: int | None = None) -> int:
    """Megabytes of memory for all jobs on this machine together.

    Args:
        limit_mib: the control group's limit, MiB; None reads it from the kernel.
    """
    machine = machine_memory_mib()
    limit = memory_limit_mib() if limit_mib is None else limit_mib
    total = machine if limit is None else min(machine, limit)
    return int(max(total - _RESERVED_MIB, total // 2) * 1.048576)


def probed_frames(info: Path) -> int | None:
    """Number of frames in a clip's `video.json`; None if absent or implausible.

    Reads only the beginning of the file. Numbers of more than seven digits count as absent, because
    a job that requests more than any machine has never starts.
    """
    try:
        with open(info, "rb") as file:
            found = re.search(rb'"n_frames":\s*(\d{1,7})\b', file.read(_HEADER_BYTES))
    except OSError:
        return None
    return int(found[1]) if found else None


def frames_by_size(video: Path, longest: int = 30_000) -> int:
    """Upper estimate of an unprobed video's frames from its file size; 20 minutes at most."""
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
