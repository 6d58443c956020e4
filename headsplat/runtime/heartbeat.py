"""Heartbeat of a stage: progress counters in shared memory, read by the watchdog process.

`headsplat.runtime.watchdog` ends a stage whose heartbeat stops. Without a watchdog the counters
are written to private memory and have no effect.
"""

import mmap
import os
import struct
from typing import NamedTuple

from headsplat.runtime.system import shared_file

SIZE = mmap.PAGESIZE
_LONGEST = 160  # bytes of the activity text
_PULSE = struct.Struct(f"=QQQ{_LONGEST}s")  # beats, done, total, activity
_STOP_FLAG = _PULSE.size  # offset of the byte that acknowledges a stop signal

_page: bytearray | mmap.mmap = bytearray(SIZE)
_beats = 0


class Pulse(NamedTuple):
    """The last heartbeat.

    Attributes:
        beats: number of heartbeats so far.
        activity: what the stage does and its progress, such as "frames 3/40"; may be empty.
    """

    beats: int
    activity: str


def beat(what: str, done: int = 0, total: int = 0) -> None:
    """Record a heartbeat; takes a microsecond, so loops may call it at every step.

    Args:
        what: the current activity, at most 160 bytes.
        done: number of finished items.
        total: number of all items; 0 if unknown.
    """
    global _beats
    _beats += 1
    _PULSE.pack_into(_page, 0, _beats, done, total, what.encode()[:_LONGEST])


def acknowledge_stop() -> None:
    """Record that this process has handled a stop signal."""
    _page[_STOP_FLAG] = 1


def share() -> int:
    """Move the heartbeat to shared memory; returns its file descriptor.

    Raises:
        OSError: no memory or no file descriptor is left.
    """
    global _page
    handle = shared_file("headsplat heartbeat")
    os.ftruncate(handle, SIZE)
    _page = mmap.mmap(handle, SIZE)
    return handle


def open_shared(handle: int) -> mmap.mmap:
    """Map another process's heartbeat, given the file descriptor of `share`."""
    return mmap.mmap(handle, SIZE, access=mmap.ACCESS_READ)


def read(page: bytes | mmap.mmap) -> Pulse:
    """The last heartbeat in shared memory."""
    beats, done, total, what = _PULSE.unpack_from(page)
    activity = what.rstrip(b"\0").decode(errors="ignore")
    return Pulse(beats, f"{activity} {done}/{total}" if total else activity)


def stop_acknowledged(page: bytes | mmap.mmap) -> bool:
    """Whether the process has handled a stop signal."""
    return page[_STOP_FLAG] == 1
