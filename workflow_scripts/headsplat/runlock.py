"""One workflow run per working folder, by a lock that the kernel drops when the process dies."""

import fcntl
import os
from pathlib import Path
from typing import IO

from headsplat.errors import UserError

_held: IO[str] | None = None


def hold(path: Path | str = ".snakemake/run.lock") -> None:
    """Hold the run lock until this process ends, by whatever means.

    Raises:
        UserError: another live process holds it; its pid is named.
    """
    global _held
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = open(path, "a+")  # noqa: SIM115 - kept open on purpose: closing drops the lock
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.seek(0)
        raise UserError(
            f"another run (pid {handle.read().strip()}) is using this folder; wait or stop it"
        ) from None
    handle.seek(0)
    handle.truncate()
    handle.write(str(os.getpid()))
    handle.flush()
    _held = handle
