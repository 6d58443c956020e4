"""Starts the watchdog of a stage (`headsplat.runtime.watchdog`) and obeys it."""

import atexit
import faulthandler
import logging
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from headsplat.runtime import heartbeat, process
from headsplat.runtime.errors import UserError
from headsplat.runtime.stopping import SIGNALS
from headsplat.runtime.watchdog import DUMP

# Holds the limits of `config/config.yaml`: seconds without use of the CPU, seconds with it.
LIMITS_VARIABLE = "HEADSPLAT_WATCHDOG"
DEFAULT_MINUTES = (15.0, 60.0)
_LIBRARY = Path(__file__).resolve().parents[2]

log = logging.getLogger("headsplat")
_watchdog: subprocess.Popen[bytes] | None = None


def set_limits(idle: float | None, busy: float | None) -> None:
    """Set the limits of the workflow's jobs, which inherit the environment.

    Args:
        idle: minutes without progress and use of the CPU after which a stage hangs; None for never.
        busy: the same, while it computes.
    """
    os.environ[LIMITS_VARIABLE] = f"{60 * (idle or 0)},{60 * (busy or 0)}"


def start() -> None:
    """Have this process watched from here on; must run in the main thread.

    Where no other process can be started, it goes on unwatched.

    Raises:
        UserError: the limits in the environment are no numbers.
    """
    global _watchdog
    if _watchdog is not None:
        return
    idle, busy = _limits()
    try:
        pulse = heartbeat.share()
        dump = os.memfd_create("headsplat threads")
        faulthandler.register(DUMP, file=dump, all_threads=True)
        # The ends that stay here stay open: a pipe without a reader would be an error.
        signals, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        ordered, order = os.pipe2(os.O_CLOEXEC)
        handles = [pulse, signals, order, dump]
        name = Path(sys.argv[0]).stem
        words = map(str, [os.getpid(), name, idle, busy, *handles])
        # It inherits the mask: what is sent to the whole group is the stage's alone.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            _watchdog = subprocess.Popen(
                [sys.executable, "-S", "-P", "-m", "headsplat.runtime.watchdog", *words],
                env=os.environ | {"PYTHONPATH": str(_LIBRARY)},
                pass_fds=handles, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            )  # fmt: skip
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(order)
    except OSError as error:
        log.warning("nothing ends this stage if it hangs: no watchdog (%s)", error)
        return
    process.spared.add(_watchdog.pid)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    threading.Thread(target=_obey, args=(ordered,), daemon=True, name="watchdog").start()
    atexit.register(stop)


def _limits() -> tuple[float, float]:
    """Seconds without use of the CPU and with it."""
    given = os.environ.get(LIMITS_VARIABLE)
    if given is None:
        return 60 * DEFAULT_MINUTES[0], 60 * DEFAULT_MINUTES[1]
    try:
        idle, busy = map(float, given.split(","))
    except ValueError:
        raise UserError(
            f"{LIMITS_VARIABLE} is '{given}'; write two numbers of seconds, such as 900,3600"
        ) from None
    return idle, busy


def stop() -> None:
    """End the watchdog, so that nothing is left to whoever adopts orphans."""
    if _watchdog is not None:
        _watchdog.kill()
        with suppress(subprocess.TimeoutExpired):
            _watchdog.wait(1)


def _obey(ordered: int) -> None:
    """End this process with the status that the watchdog sends, if Python still runs threads."""
    status = os.read(ordered, 1)
    if status:
        process.end(status[0])
