"""What every stage script shares: process hygiene, logging, progress, one-line errors."""

import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from headsplat.runtime import watching
from headsplat.runtime.errors import UserError, printable
from headsplat.runtime.gpu import claim_card
from headsplat.runtime.heartbeat import beat
from headsplat.runtime.memory import memory_error
from headsplat.runtime.process import die_with_parent, end
from headsplat.runtime.stopping import STATUS, Stopped, listen
from headsplat.runtime.storage import storage_error

Item = TypeVar("Item")
log = logging.getLogger("headsplat")


def stage(main: Callable[[], None], gpu: bool = False) -> None:
    """Run the `main` of a stage script as a process of its own.

    With `gpu` the process claims one card of the machine, where there is one, for its lifetime.

    A `UserError`, a disk that refuses a write, or memory that ran out ends in one line on standard
    error and exit status 1, a request to stop in one line and status 143; anything else is a bug
    and keeps its traceback. A stage that hangs is ended from outside (`headsplat.runtime.watchdog`).
    """
    die_with_parent()
    listen()
    watching.start()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_OneLine("%(asctime)s %(message)s", "%H:%M:%S"))
        handler.addFilter(_beat_at_record)
    try:
        if gpu:
            claim_card()
        main()
    except Stopped:
        print("stopped; the same command continues", file=sys.stderr)
        watching.stop()
        end(STATUS)
    except Exception as error:
        line = _line_of(error)
        if line is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        sys.exit(1)


def _watch_imports() -> None:
    """Libraries can hang or run out of memory while they are loaded.

    A stage's script loads most of them behind this module, before it comes to `stage`.
    """

    def hook(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        line = _line_of(error)
        if line is None:
            sys.__excepthook__(kind, error, trace)
        else:
            print(f"error: {line}", file=sys.stderr)

    if watching.is_stage(sys.modules["__main__"]):
        sys.excepthook = hook
        watching.start()


def _line_of(error: BaseException) -> UserError | None:
    """The line that an error ends in; None for a bug."""
    if isinstance(error, UserError):
        return error
    return memory_error(error) or (storage_error(error) if isinstance(error, OSError) else None)


_watch_imports()


class _OneLine(logging.Formatter):
    """Each record is one line, whatever the names of files in it hold."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        """As logging's."""
        record.message = printable(record.message)
        return super().formatMessage(record)


def _beat_at_record(record: logging.LogRecord) -> bool:
    beat(record.getMessage())
    return True


def progress(items: Iterable[Item], total: int, what: str, every: float = 5.0) -> Iterator[Item]:
    """Yield `items`, logging count, rate and time left at most once every `every` seconds.

    Each item is a sign to the stage's watchdog that it goes on.
    """
    start = last = time.monotonic()
    count = 0
    beat(what, 0, total)
    for count, item in enumerate(items, 1):
        beat(what, count, total)
        yield item
        now = time.monotonic()
        if now - last >= every:
            rate = count / (now - start)
            left = max(0, total - count) / rate
            log.info("%s %d/%d  %.1f/s  %.0f s left", what, count, total, rate, left)
            last = now
    seconds = max(time.monotonic() - start, 1e-9)
    log.info("%s %d/%d done in %.1f s (%.1f/s)", what, count, total, seconds, count / seconds)


def available_threads() -> int:
    """CPU threads this process may use: Snakemake's OMP_NUM_THREADS, else the affinity mask."""
    limit = os.environ.get("OMP_NUM_THREADS", "")
    if limit.isdigit() and int(limit) > 0:
        return int(limit)
    return len(os.sched_getaffinity(0))
