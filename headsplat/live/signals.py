"""Signals that stop a server, within its event loop."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator

from headsplat.runtime.stopping import SIGNALS


@contextlib.contextmanager
def noted(note: Callable[[int], None]) -> Iterator[None]:
    """While it lasts, signals call a function in the running loop; then handlers are as before.

    Outside the main thread nothing changes, because Python has signals there only.

    Args:
        note: takes the signal's number.
    """
    loop = asyncio.get_running_loop()
    # Ignored signals stay ignored, as in `headsplat.runtime.stopping`.
    before = {number: signal.getsignal(number) for number in SIGNALS}
    taken = {n: handler for n, handler in before.items() if handler is not signal.SIG_IGN}
    try:
        for number in taken:
            loop.add_signal_handler(number, note, number)
    except (ValueError, RuntimeError):
        taken = {}
    try:
        yield
    finally:
        for number, handler in taken.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
