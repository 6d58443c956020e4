"""What a disk says when it refuses a write, in words that help."""

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from headsplat.errors import UserError

LITTLE = 1 << 20  # bytes; less than that is no room
FULL = (errno.ENOSPC, errno.EDQUOT)
REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM)


def storage_error(error: BaseException, path: Path | str | None = None) -> UserError | None:
    """The line to end in when a disk refused a file; None if `error` has another cause.

    Args:
        error: what was raised; its causes and contexts are looked at too.
        path: what was being written; None if that is not known.
    """
    seen: BaseException | None = error
    while seen is not None:
        # Some libraries' errors carry an errno without being an OSError.
        number = getattr(seen, "errno", None)
        if number in FULL:
            return _full(_name(seen, path))
        if number == errno.EFBIG:
            return UserError(
                f"{_name(seen, path)}: larger than a file may be here; raise the limit "
                "(ulimit -f), and the same command continues"
            )
        if number in REFUSED:
            return _refused(number, _name(seen, path))
        seen = seen.__cause__ or seen.__context__
    if path is not None and isinstance(error, RuntimeError):
        return _of_the_disk(Path(path))
    return None


def require_room(folders: Sequence[Path | str]) -> None:
    """Find out before a run that it could write nothing.

    Args:
        folders: that are written to; of those that are not there, the folder they will be made in.

    Raises:
        UserError: a folder cannot be written, or its disk is full.
    """
    for folder in map(Path, folders):
        there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
        if not os.access(there, os.W_OK):
            number = errno.EROFS if os.statvfs(there).f_flag & os.ST_RDONLY else errno.EACCES
            raise _refused(number, str(folder))
        if _free(there) < LITTLE:
            raise _full(str(folder))


def _free(folder: Path) -> int:
    state = os.statvfs(folder)
    return state.f_bavail * state.f_frsize


def _refused(number: int, name: str) -> UserError:
    return UserError(
        f"{name}: {os.strerror(number).lower()}; give this user the right to use it, and the same "
        "command continues"
    )


def _full(name: str) -> UserError:
    return UserError(f"{name}: the disk is full; free some space, and the same command continues")


def _name(error: BaseException, path: Path | str | None) -> str:
    """The file in question: the error's own, unless that is the hidden one that becomes `path`."""
    named = getattr(error, "filename", None)
    if path is not None and (not named or Path(named).name.startswith(f".{Path(path).stem}.")):
        return str(path)
    return str(named or "an output")


def _of_the_disk(path: Path) -> UserError | None:
    """As `storage_error` for PyTorch, which hides the errno of a write that failed."""
    try:
        if os.statvfs(path.parent).f_flag & os.ST_RDONLY:
            return _refused(errno.EROFS, str(path))
        return _full(str(path)) if _free(path.parent) < LITTLE else None
    except OSError:
        return None
