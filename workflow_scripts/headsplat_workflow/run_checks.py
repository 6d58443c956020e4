"""Checks before a run starts: one run per working folder, and no input files from the future."""

import errno
import fcntl
import os
import shlex
import sys
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import IO

from headsplat_workflow.subjects import Subjects

from headsplat.runtime.errors import UserError, shown

# Errors of network file systems without a lock service.
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
_lock_file: IO[str] | None = None


def hold_run_lock(path: Path | str = ".snakemake/run.lock") -> None:
    """Hold the folder's run lock (flock) until this process ends, however it ends.

    Where the file system has no locks, a warning is printed and the run continues without one.

    Raises:
        UserError: another live process holds it; its pid is named.
    """
    global _lock_file
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
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        print(
            f"warning: {path} cannot be locked on this file system ({error.strerror}); see to it "
            "that one run at a time uses this folder",
            file=sys.stderr,
        )
    handle.seek(0)
    handle.truncate()
    handle.write(str(os.getpid()))
    handle.flush()
    _lock_file = handle


def require_past(files: Iterable[Path | str]) -> None:
    """Reject files with modification times in the future.

    Whatever is made from such a file looks outdated to Snakemake.

    Raises:
        UserError: a file is dated later than now.
    """
    for path in files:
        try:
            stamp = os.stat(path).st_mtime
        except OSError:  # a missing file is reported elsewhere
            continue
        if stamp > time.time() + 1:  # file servers round, and their clocks differ a little
            name = shown(str(path))
            raise UserError(
                f"{name}: dated {_date(stamp)}, which is in the future; set the clock right or "
                f"'touch {shlex.quote(name)}', and the same command continues"
            )


def refuse_future(subjects: Subjects) -> None:
    """Refuse the subjects whose video has a modification time in the future."""
    for name, subject in list(subjects.items()):
        try:
            require_past([subject.video] if subject.video else [])
        except UserError as error:
            subjects.refuse(name, f"subject '{name}': {error}")


def _date(stamp: float) -> str:
    try:
        return f"{datetime.fromtimestamp(stamp):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return "after the year 9999"
