"""Graceful shutdown: SIGTERM, SIGINT and SIGHUP raise `Stopped` in the main thread.

Half-written files are removed while the exception propagates; resumable state in scratch stays. A
stage that must save first uses `postponed`. The process exits with status 143 within seconds, and
the same command continues later. Python runs signal handlers between bytecode instructions only.
`headsplat.runtime.watchdog` ends a stage that is blocked in native code or takes too long to exit.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from headsplat.runtime.heartbeat import acknowledge_stop
from headsplat.runtime.process import end_children, stop_workflow

STATUS = 143  # 128 + SIGTERM, as a shell reports it
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# Seconds a stage may take to exit after the signal: SLURM kills after 30, some pods after 10.
GRACE_SECONDS = 7


class Stopped(SystemExit):
    """The process was asked to stop."""

    def __init__(self) -> None:
        super().__init__(STATUS)


def handle_stop_signals() -> None:
    """Install handlers that raise `Stopped` in the main thread."""
    _handle(_interrupt)


@contextmanager
def postponed() -> Iterator[Callable[[], bool]]:
    """Postpone `Stopped` within the context; yields a function that tells whether a signal came.

    After a signal the stage has `GRACE_SECONDS` to save its state and raise `Stopped`. If it
    finishes instead, `Stopped` is raised at the end of the context. Main thread only.
    """
    asked: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        if not asked and before[signal.Signals(number)] is _interrupt:
            _begin_shutdown()
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
    # Ignored signals stay ignored: nohup ignores SIGHUP, a shell's background jobs ignore SIGINT.
    mine = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in mine}


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    _handle(_ignore)
    _begin_shutdown()
    # The exit waits for threads, and threads wait for their children, such as compilers.
    end_children()
    raise Stopped


def _ignore(number: int, frame: FrameType | None) -> None:
    """Ignore further signals, as workflow and terminal may both send one during the shutdown."""


def _begin_shutdown() -> None:
    """Stop the workflow, and set an alarm that ends this process even without its watchdog."""
    signal.alarm(GRACE_SECONDS + 1)
    acknowledge_stop()
    stop_workflow(os.getpid())
