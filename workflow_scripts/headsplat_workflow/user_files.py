"""Files that a table names: checks before a run, and fingerprints of their content."""

import os
import stat
from functools import cache
from pathlib import Path

from headsplat.runtime.fingerprint import fingerprint


def file_problem(path: str | Path) -> str | None:
    """Why a path is not a readable file, as words that follow its name; None if it is one."""
    return _problem(path, folder=False)


def folder_problem(path: str | Path) -> str | None:
    """Why a path is not a readable folder, as words that follow its name; None if it is one."""
    return _problem(path, folder=True)


def _problem(path: str | Path, folder: bool) -> str | None:
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "is a broken link" if os.path.islink(path) else "is not there"
    except (OSError, ValueError) as error:
        return f"cannot be used ({getattr(error, 'strerror', None) or error})"
    if folder and not stat.S_ISDIR(mode):
        return "is not a folder"
    if not folder and not stat.S_ISREG(mode):
        return "is a folder, not a file" if stat.S_ISDIR(mode) else "is not a regular file"
    if not os.access(path, os.R_OK | (os.X_OK if folder else 0)):
        return "cannot be read (permission denied); give this user the right to read it"
    return None


def folders_in(path: str | Path) -> list[str]:
    """The folders in a folder, sorted; empty if it cannot be read."""
    try:
        return sorted(entry.path for entry in os.scandir(path) if entry.is_dir())
    except OSError:
        return []


@cache
def content_of(path: str | Path) -> str:
    """Fingerprint of a file's content; "" if it cannot be read. Computed once per run."""
    try:
        return fingerprint(Path(path))
    except OSError:  # the job reports the cause
        return ""
