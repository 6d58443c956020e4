"""Entry point of every stage script: signals, watchdog, logging, GPU claim, one-line errors."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from headsplat.runtime import watchdog_launcher
from headsplat.runtime.errors import UserError
from headsplat.runtime.failures import user_error
from headsplat.runtime.gpu import claim_where_used
from headsplat.runtime.heartbeat import beat
from headsplat.runtime.logs import OneLine
from headsplat.runtime.process import die_with_parent, exit_now
from headsplat.runtime.stopping import STATUS, Stopped, handle_stop_signals

SCRIPTS = Path(__file__).resolve().parents[1]


def stage(main: Callable[[], None], gpu: bool = False) -> None:
    """Run the `main` of a stage script as a process of its own.

    User errors (`headsplat.runtime.failures`) end in one line on standard error and exit status 1.
    A request to stop ends in one line and status 143. Anything else is a bug and keeps its
    traceback. The watchdog (`headsplat.runtime.watchdog`) ends a stage that hangs.

    Args:
        main: parses the command line and does the work.
        gpu: claim one GPU for the process's lifetime when a device is chosen
            (`headsplat.runtime.device`), if there is one.
    """
    die_with_parent()
    handle_stop_signals()
    watchdog_launcher.start()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(OneLine("%(asctime)s %(message)s", "%H:%M:%S"))
        handler.addFilter(_beat_at_record)
    try:
        if gpu:
            claim_where_used()
        main()
    except Stopped:
        print("stopped; the same command continues", file=sys.stderr)
        watchdog_launcher.stop()
        exit_now(STATUS)
    except Exception as error:
        line = user_error(error)
        if line is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        sys.exit(1)


def errors_to_stdout(main: Callable[[], None]) -> Callable[[], None]:
    """Wrap `main` so that its user errors are printed on standard output too.

    For rules whose output a person reads: their standard error goes to a log file, of which
    Snakemake's `--quiet all` shows nothing.
    """

    def wrapped() -> None:
        try:
            main()
        except UserError as error:
            print(f"error: {error}", flush=True)
            raise
        except SystemExit as end:
            if isinstance(end.code, str):  # `sys.exit(message)`
                print(end.code, flush=True)
            raise

    return wrapped


def is_stage(module: ModuleType) -> bool:
    """Whether a module is a stage script."""
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).resolve().parent == SCRIPTS


def _watch_imports() -> None:
    """Start the watchdog and one-line errors before a stage script's imports.

    Libraries can hang or run out of memory while loading, and most are imported after this module.
    """

    def hook(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        line = user_error(error)
        if line is None:
            sys.__excepthook__(kind, error, trace)
        else:
            print(f"error: {line}", file=sys.stderr)

    if is_stage(sys.modules["__main__"]):
        sys.excepthook = hook
        watchdog_launcher.start()


_watch_imports()


def _beat_at_record(record: logging.LogRecord) -> bool:
    beat(record.getMessage())
    return True
