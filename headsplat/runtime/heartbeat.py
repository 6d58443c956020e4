"""A stage's signs of progress: a page of memory that its watchdog reads while the stage works.

`headsplat.runtime.watchdog` says what happens when they stop. Without a watchdog they go nowhere.
"""

import mmap
import os
import struct
from typing import NamedTuple

SIZE = mmap.PAGESIZE
_LONGEST = 160  # bytes of what a stage says that it is doing
_PULSE = struct.Struct(f"=QQQ{_LONGEST}s")  # beats, done, total, what
_NOTED = _PULSE.size  # where the byte lies that says that a request to stop was noted

_page: bytearray | mmap.mmap = bytearray(SIZE)
_beats = 0


class Pulse(NamedTuple):
    """The last sign of progress.

    Attributes:
        beats: how many there were.
        doing: what the stage said that it was doing, with how far it was; may be empty.
    """

    beats: int
    doing: str


def beat(what: str, done: int = 0, total: int = 0) -> None:
    """Say that this process goes on; takes a microsecond, so loops may call it at every step.

    Args:
        what: it is doing.
        done: how many of `total` are done, where that is known.
        total: 0 where it is not.
    """
    global _beats
    _beats += 1
    _PULSE.pack_into(_page, 0, _beats, done, total, what.encode()[:_LONGEST])


def note_request() -> None:
    """Say that the process knows that it is to stop."""
    _page[_NOTED] = 1


def share() -> int:
    """Put the signs where another process can read them; returns a descriptor of the memory.

    Raises:
        OSError: there is no memory or no descriptor left.
    """
    global _page
    handle = os.memfd_create("headsplat heartbeat")
    os.ftruncate(handle, SIZE)
    _page = mmap.mmap(handle, SIZE)
    return handle


def open_shared(handle: int) -> mmap.mmap:
    """Another process's signs, by the descriptor of `share`."""
    return mmap.mmap(handle, SIZE, access=mmap.ACCESS_READ)


def read(page: bytes | mmap.mmap) -> Pulse:
    """The last sign of progress in shared memory."""
    beats, done, total, what = _PULSE.unpack_from(page)
    doing = what.rstrip(b"\0").decode(errors="ignore")
    return Pulse(beats, f"{doing} {done}/{total}" if total else doing)


def request_noted(page: bytes | mmap.mmap) -> bool:
    """Whether the process knows that it is to stop."""
    return page[_NOTED] == 1
