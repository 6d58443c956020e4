"""`UserError` messages for file system errors: disk full, access denied, damaged file."""

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from headsplat.runtime.errors import UserError, shown

LEAST_FREE = 1 << 20  # bytes; with less, a disk counts as full
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
DENIED = (errno.EROFS, errno.EACCES, errno.EPERM)
# A network volume or a disk that was disconnected.
DISCONNECTED = tuple(
    getattr(errno, name)
    for name in (
        "ESTALE", "ENOTCONN", "ESHUTDOWN", "EHOSTDOWN", "EHOSTUNREACH", "ETIMEDOUT", "ENODEV",
        "ENXIO", "EREMOTEIO", "ENOLINK",
    )
    if hasattr(errno, name)  # macOS has no EREMOTEIO
)  # fmt: skip
# What the user must do before the same command can continue.
_CURES = {
    errno.EMFILE: "raise the limit (ulimit -n)",
    errno.ENFILE: "end what else holds files open",
    errno.ENOMEM: "run fewer jobs at once, or on a machine with more memory",
    errno.EIO: "check the disk or volume (dmesg)",
    errno.ENAMETOOLONG: "give a shorter name",
    **dict.fromkeys(DISCONNECTED, "mount its file system again"),
}
# Errors of a reader that mean wrong content or no regular file; None: a decoder's own exception.
_CONTENT_ERRORS = (None, errno.EINVAL, errno.EISDIR, errno.EFBIG, errno.EOVERFLOW)
_LONGEST_NAME = 300  # characters of a path in a message
AGAIN = "delete it, and the same command makes it again"


class DamagedFile(UserError):
    """A file with damaged content; only such a file may be deleted and made again."""


def storage_error(error: BaseException, path: Path | str | None = None) -> UserError | None:
    """A `UserError` for a file system error; None if `error` has another cause.

    Args:
        error: the exception; its causes and contexts are searched too.
        path: the file that was written or read; None if unknown.
    """
    seen: BaseException | None = error
    while seen is not None:
        # Some libraries raise errors with an errno that are not an OSError.
        number = getattr(seen, "errno", None)
        if number in DISK_FULL:
            return _full(_name(seen, path))
        if number == errno.EFBIG:
            return UserError(
                f"{_name(seen, path)}: larger than a file may be here; raise the limit "
                "(ulimit -f), and the same command continues"
            )
        if number in DENIED:
            return _denied(number, _name(seen, path))
        if number in _CURES and isinstance(seen, OSError):
            return _error_with_cure(number, _name(seen, path))
        seen = seen.__cause__ or seen.__context__
    if path is not None and isinstance(error, RuntimeError):
        return _error_from_disk_state(Path(path))
    return None


def unreadable(error: BaseException, path: Path | str, what: str, fix: str = AGAIN) -> UserError:
    """The error for a file that could not be read; a `DamagedFile` if its content is at fault.

    Args:
        error: the exception that reading raised.
        path: the file.
        what: description of damaged content, such as "not a readable zip (...)".
        fix: what to do about damaged content.
    """
    if isinstance(error, MemoryError):
        return _error_with_cure(errno.ENOMEM, str(path))
    number = error.errno if isinstance(error, OSError) else None
    if number in _CONTENT_ERRORS:
        return DamagedFile(f"{path}: {what}; {fix}")
    if number == errno.ENOENT:
        return UserError(f"{path}: is not there; put it back, or let the same command make it")
    return storage_error(error, path) or UserError(
        f"{path}: cannot be read ({os.strerror(number).lower()}); fix that, and the same command "
        "continues"
    )


def require_room(folders: Sequence[Path | str]) -> None:
    """Check before a run that its folders are writable and their disks have space.

    Args:
        folders: output folders; for a missing one its nearest existing parent is checked.

    Raises:
        UserError: a folder cannot be written, or its disk is full.
    """
    for folder in map(Path, folders):
        there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
        if not os.access(there, os.W_OK):
            number = errno.EROFS if os.statvfs(there).f_flag & os.ST_RDONLY else errno.EACCES
            raise _denied(number, str(folder))
        if _free(there) < LEAST_FREE:
            raise _full(str(folder))


def _free(folder: Path) -> int:
    state = os.statvfs(folder)
    return state.f_bavail * state.f_frsize


def _denied(number: int, name: str) -> UserError:
    return UserError(
        f"{name}: {os.strerror(number).lower()}; give this user access to it, and the same "
        "command continues"
    )


def _error_with_cure(number: int, name: str) -> UserError:
    what = f"{shown(name, _LONGEST_NAME)}: {os.strerror(number).lower()}"
    return UserError(f"{what}; {_CURES[number]}, and the same command continues")


def _full(name: str) -> UserError:
    return UserError(f"{name}: the disk is full; free some space, and the same command continues")


def _name(error: BaseException, path: Path | str | None) -> str:
    """The file to name: the error's own, but `path` for the temporary file of `path`."""
    named = getattr(error, "filename", None)
    if path is not None and (not named or Path(named).name.startswith(f".{Path(path).stem}.")):
        return str(path)
    return str(named or "a file")


def _error_from_disk_state(path: Path) -> UserError | None:
    """As `storage_error` for PyTorch, whose write errors have no errno."""
    try:
        if os.statvfs(path.parent).f_flag & os.ST_RDONLY:
            return _denied(errno.EROFS, str(path))
        return _full(str(path)) if _free(path.parent) < LEAST_FREE else None
    except OSError:
        return None
