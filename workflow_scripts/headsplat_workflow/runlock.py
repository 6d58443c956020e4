"""One workflow run per working folder, by a lock that the kernel drops when the process dies."""

import errno
import fcntl
import os
import sys
from pathlib import Path
from typing import IO

from headsplat.runtime.errors import UserError

# What network volumes without a lock service say.
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
_held: IO[str] | None = None


def hold(path: Path | str = ".snakemake/run.lock") -> None:
    """Hold the run lock until this process ends, by whatever means.

    Where the file system has no locks, a warning says so and the run goes on without.

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
    _held = handle
