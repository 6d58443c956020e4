"""Launch the watchdog process of a stage (`headsplat.runtime.watchdog`) and follow its order."""

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

from headsplat.runtime import heartbeat, process, system
from headsplat.runtime.errors import UserError
from headsplat.runtime.stopping import SIGNALS
from headsplat.runtime.watchdog import DUMP

# Environment variable with the limits of `config/config.yaml` in seconds: "idle,busy".
LIMITS_VARIABLE = "HEADSPLAT_WATCHDOG"
DEFAULT_MINUTES = (15.0, 60.0)
_LIBRARY = Path(__file__).resolve().parents[2]

log = logging.getLogger("headsplat")
_watchdog: subprocess.Popen[bytes] | None = None


def set_limits(idle: float | None, busy: float | None) -> None:
    """Set the watchdog limits of the workflow's jobs through the environment.

    Args:
        idle: minutes without heartbeat and CPU use after which a stage is ended; None for never.
        busy: minutes without heartbeat but with CPU use, likewise.
    """
    os.environ[LIMITS_VARIABLE] = f"{60 * (idle or 0)},{60 * (busy or 0)}"


def start() -> None:
    """Start the watchdog of this process; main thread only.

    If no process can be started, a warning is logged and the stage runs without a watchdog.

    Raises:
        UserError: the limits in the environment are not numbers.
    """
    global _watchdog
    if _watchdog is not None:
        return
    idle, busy = _limits()
    try:
        pulse = heartbeat.share()
        dump = system.shared_file("headsplat threads")
        faulthandler.register(DUMP, file=dump, all_threads=True)
        # This process keeps its pipe ends open, because writing without a reader is an error.
        signals, wake = system.pipe(blocking=False)
        order_reader, order = system.pipe(blocking=True)
        handles = [pulse, signals, order, dump]
        name = Path(sys.argv[0]).stem
        words = map(str, [os.getpid(), name, idle, busy, *handles])
        # The watchdog inherits the mask, so signals to the process group reach only the stage.
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
    process.exempt_children.add(_watchdog.pid)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    thread = threading.Thread(
        target=_exit_on_order, args=(order_reader,), daemon=True, name="watchdog"
    )
    thread.start()
    atexit.register(stop)


def _limits() -> tuple[float, float]:
    """The idle and busy limits in seconds."""
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
    """End the watchdog, so that no orphan process is left."""
    if _watchdog is not None:
        _watchdog.kill()
        with suppress(subprocess.TimeoutExpired):
            _watchdog.wait(1)


def _exit_on_order(order_reader: int) -> None:
    """Exit with the status that the watchdog sends; works while Python still runs threads."""
    status = os.read(order_reader, 1)
    if status:
        process.exit_now(status[0])
