"""What every stage script shares: process hygiene, logging, progress, one-line errors."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from headsplat.runtime import watching
from headsplat.runtime.errors import UserError
from headsplat.runtime.gpu import claim_gpu
from headsplat.runtime.heartbeat import beat
from headsplat.runtime.logs import OneLine
from headsplat.runtime.memory import memory_error
from headsplat.runtime.process import die_with_parent, end
from headsplat.runtime.stopping import STATUS, Stopped, listen
from headsplat.runtime.storage import storage_error

SCRIPTS = Path(__file__).resolve().parents[1]


def stage(main: Callable[[], None], gpu: bool = False) -> None:
    """Run the `main` of a stage script as a process of its own.

    With `gpu` the process claims one GPU of the machine, where there is one, for its lifetime.

    A `UserError`, a disk that refuses a write, or memory that ran out ends in one line on standard
    error and exit status 1, a request to stop in one line and status 143; anything else is a bug
    and keeps its traceback. A stage that hangs is ended by
    its watchdog (`headsplat.runtime.watchdog`).
    """
    die_with_parent()
    listen()
    watching.start()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(OneLine("%(asctime)s %(message)s", "%H:%M:%S"))
        handler.addFilter(_beat_at_record)
    try:
        if gpu:
            claim_gpu()
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


def is_stage(module: ModuleType) -> bool:
    """Whether a program is the script of a stage."""
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).resolve().parent == SCRIPTS


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

    if is_stage(sys.modules["__main__"]):
        sys.excepthook = hook
        watching.start()


def _line_of(error: BaseException) -> UserError | None:
    """The line that an error ends in; None for a bug."""
    if isinstance(error, UserError):
        return error
    return memory_error(error) or (storage_error(error) if isinstance(error, OSError) else None)


_watch_imports()


def _beat_at_record(record: logging.LogRecord) -> bool:
    beat(record.getMessage())
    return True
