"""SIGTERM, SIGINT and SIGHUP end a stage in order; pods and clusters send one before they kill.

A stage is interrupted where it stands: what is half-written is removed on the way out, what it kept
in scratch stays. A stage that wants to save first asks `postponed` for the time. Either way the
process ends with status 143 in seconds, and whoever started it runs the same command to go on.
Python runs the handlers between two of its own instructions. Of native code that takes longer than
that, and of a stage that takes too long to end, `headsplat.runtime.watchdog` makes an end.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from headsplat.runtime.heartbeat import note_request
from headsplat.runtime.process import end_children, tell_workflow

STATUS = 143  # 128 + SIGTERM, as a shell reports it
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# Seconds that a stage has from the signal; SLURM leaves 30 before it kills, some pods only 10.
PATIENCE = 7


class Stopped(SystemExit):
    """The process was asked to stop."""

    def __init__(self) -> None:
        super().__init__(STATUS)


def listen() -> None:
    """From here on a request to stop raises `Stopped` in the main thread."""
    _handle(_interrupt)


@contextmanager
def postponed() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether to stop; inside, a request does not interrupt.

    A stage has `PATIENCE` seconds then to save and raise `Stopped`; if it finishes instead,
    `Stopped` is raised behind it. Must run in the main thread.
    """
    asked: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        if not asked and before[signal.Signals(number)] is _interrupt:
            _hurry()
        asked.append(number)

    before = _handle(note)
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, _ignore if asked else handler)
    if asked:
        raise Stopped


def _handle(handler: Callable[[int, FrameType | None], None]) -> dict[signal.Signals, Any]:
    # What is ignored stays so: nohup ignores SIGHUP, a shell's background jobs ignore SIGINT.
    mine = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in mine}


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    _handle(_ignore)
    _hurry()
    # Threads wait for what they started, such as compilers, and the way out waits for threads.
    end_children()
    raise Stopped


def _ignore(number: int, frame: FrameType | None) -> None:
    """Asked again, as by the workflow and the terminal at once, the way out is not interrupted."""


def _hurry() -> None:
    """Have the whole run end, and this process in time whatever happens to its watchdog."""
    signal.alarm(PATIENCE + 1)
    note_request()
    tell_workflow(os.getpid())
