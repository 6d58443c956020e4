"""What every stage script shares: process hygiene, logging, progress, one-line errors."""

import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from headsplat.errors import UserError
from headsplat.gpu import claim_card
from headsplat.process import die_with_parent, end
from headsplat.stopping import STATUS, Stopped, listen
from headsplat.storage import storage_error

Item = TypeVar("Item")
log = logging.getLogger("headsplat")


def stage(main: Callable[[], None], gpu: bool = False) -> None:
    """Run the `main` of a stage script as a process of its own.

    With `gpu` the process claims one card of the machine, where there is one, for its lifetime.

    A `UserError` or a disk that refuses a write ends in one line on standard error and exit status
    1, a request to stop in one line and status 143; anything else is a bug and keeps its traceback.
    """
    die_with_parent()
    listen()
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr
    )
    try:
        if gpu:
            claim_card()
        main()
    except (UserError, OSError) as error:
        line = error if isinstance(error, UserError) else storage_error(error)
        if line is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        sys.exit(1)
    except Stopped:
        print("stopped; the same command continues", file=sys.stderr)
        end(STATUS)


def progress(items: Iterable[Item], total: int, what: str, every: float = 5.0) -> Iterator[Item]:
    """Yield `items`, logging count, rate and time left at most once every `every` seconds."""
    start = last = time.monotonic()
    count = 0
    for count, item in enumerate(items, 1):
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
