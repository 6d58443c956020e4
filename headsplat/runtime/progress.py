"""Progress of long loops: count, rate and time left, logged every few seconds."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from headsplat.runtime.heartbeat import beat
from headsplat.runtime.logs import log

Item = TypeVar("Item")


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
