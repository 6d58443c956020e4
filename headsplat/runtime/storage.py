"""What the machine says when it refuses a file, in words that help."""

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from headsplat.runtime.errors import UserError

LITTLE = 1 << 20  # bytes; less than that is no room
FULL = (errno.ENOSPC, errno.EDQUOT)
REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM)
# A network volume that vanished, or a disk that was pulled.
GONE = (
    errno.ESTALE, errno.ENOTCONN, errno.ESHUTDOWN, errno.EHOSTDOWN, errno.EHOSTUNREACH,
    errno.ETIMEDOUT, errno.ENODEV, errno.ENXIO, errno.EREMOTEIO, errno.ENOLINK,
)  # fmt: skip
# What each of these needs before the same command can continue.
_CURES = {
    errno.EMFILE: "raise the limit (ulimit -n)",
    errno.ENFILE: "end what else holds files open",
    errno.ENOMEM: "run fewer jobs at once, or on a machine with more memory",
    errno.EIO: "check the disk or volume (dmesg)",
    **dict.fromkeys(GONE, "mount its file system again"),
}
# Of a reader: what is there is no file, or its content leads nowhere.
_OF_THE_CONTENT = (None, errno.EINVAL, errno.EISDIR, errno.EFBIG, errno.EOVERFLOW)
AGAIN = "delete it, and the same command makes it again"


class DamagedFile(UserError):
    """A file whose content is at fault: only such a one may be thrown away."""


def storage_error(error: BaseException, path: Path | str | None = None) -> UserError | None:
    """The line to end in when the machine refused a file; None if `error` has another cause.

    Args:
        error: what was raised; its causes and contexts are looked at too.
        path: what was being written or read; None if that is not known.
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
        if number in _CURES and isinstance(seen, OSError):
            return _uncured(number, _name(seen, path))
        seen = seen.__cause__ or seen.__context__
    if path is not None and isinstance(error, RuntimeError):
        return _of_the_disk(Path(path))
    return None


def unreadable(error: BaseException, path: Path | str, what: str, cure: str = AGAIN) -> UserError:
    """The line to end in when a file could not be read: only a damaged one is to be deleted.

    Args:
        error: what reading it raised.
        path: the file.
        what: to say of it if its content is at fault, e.g. "not a readable zip (...)".
        cure: what to do then.
    """
    if isinstance(error, MemoryError):
        return _uncured(errno.ENOMEM, str(path))
    number = error.errno if isinstance(error, OSError) else None
    if number in _OF_THE_CONTENT:
        return DamagedFile(f"{path}: {what}; {cure}")
    if number == errno.ENOENT:
        return UserError(f"{path}: is not there; put it back, or let the same command make it")
    return storage_error(error, path) or UserError(
        f"{path}: cannot be read ({os.strerror(number).lower()}); mend that, and the same command "
        "continues"
    )


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


def _uncured(number: int, name: str) -> UserError:
    return UserError(
        f"{name}: {os.strerror(number).lower()}; {_CURES[number]}, and the same command continues"
    )


def _full(name: str) -> UserError:
    return UserError(f"{name}: the disk is full; free some space, and the same command continues")


def _name(error: BaseException, path: Path | str | None) -> str:
    """The file in question: the error's own, unless that is the hidden one that becomes `path`."""
    named = getattr(error, "filename", None)
    if path is not None and (not named or Path(named).name.startswith(f".{Path(path).stem}.")):
        return str(path)
    return str(named or "a file")


def _of_the_disk(path: Path) -> UserError | None:
    """As `storage_error` for PyTorch, which hides the errno of a write that failed."""
    try:
        if os.statvfs(path.parent).f_flag & os.ST_RDONLY:
            return _refused(errno.EROFS, str(path))
        return _full(str(path)) if _free(path.parent) < LITTLE else None
    except OSError:
        return None
