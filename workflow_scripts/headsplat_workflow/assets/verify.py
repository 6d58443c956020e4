"""Verify asset files: by their first bytes, and by SHA-256 against a record."""

import os
import time
import zipfile
from pathlib import Path
from typing import Any

from headsplat.runtime.checksum import json_value
from headsplat.runtime.errors import one_line
from headsplat.runtime.files import write_json
from headsplat.runtime.fingerprint import file_digest
from headsplat.runtime.regular import open_regular, read_regular
from headsplat.runtime.storage import storage_error, unreadable

_POINTER = b"version https://git-lfs.github.com/spec/"
_PAGE = (b"<!doctype html", b"<html", b"<?xml", b"<head", b"<body")
# Magic bytes by suffix; PyTorch's files are zips or, in the old format, pickles.
_ZIP = (b"PK\x03\x04",)
_SIGNATURES = {
    ".zip": _ZIP, ".npz": _ZIP, ".task": _ZIP, ".pt": _ZIP, ".tar": (*_ZIP, b"\x80"),
    ".pth": (*_ZIP, b"\x80"), ".npy": (b"\x93NUMPY",), ".xz": (b"\xfd7zXZ",), ".gz": (b"\x1f\x8b",),
}  # fmt: skip
_FIELDS = {"sha256", "first_used"}
_LARGEST = 64 << 20  # bytes of the record of hashes
_ZIPPED = (".zip", ".npz", ".task")


def signature_problem(path: Path) -> str | None:
    """Describe what is visibly wrong with a file, or None; folders always pass.

    Reads the first bytes, and the directory of a zip.
    """
    if path.is_dir():
        return None
    try:
        with open_regular(path) as handle:
            start = handle.read(512)
    except OSError as error:
        refused = storage_error(error, path)
        if refused is not None:
            raise refused from error
        return f"cannot be read ({error.strerror})"
    if not start:
        return "is empty"
    if start.startswith(_POINTER):
        return "is a git-lfs pointer, not the file: run 'git lfs pull' there, or download it"
    if start.lstrip().lower().startswith(_PAGE):
        return "is a web page saved under the model's name"
    signatures = _SIGNATURES.get(path.suffix, ())
    if signatures and not start.startswith(signatures):
        return f"does not begin as a {path.suffix} file does"
    if path.suffix in _ZIPPED and not zipfile.is_zipfile(path):
        return "is a truncated archive"
    return None


class HashRecord:
    """JSON record of the assets' hashes, with the file size and time at which they were computed.

    A file with unchanged size and time is not read again.

    Args:
        path: of the record.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, dict[str, Any]] = {}
        self._changed = False
        try:
            self._known = json_value(read_regular(path, _LARGEST))
            if not all(entry.keys() >= _FIELDS for entry in self._known.values()):
                raise ValueError(f"an entry lacks one of {', '.join(sorted(_FIELDS))}")
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            what = f"not a record of hashes ({one_line(error)})"
            raise unreadable(error, path, what, "delete it, and a new one is started") from error

    def problem(self, path: Path, published: str | None) -> str | None:
        """Compare a file's hash with the published or recorded one; None if it matches.

        A hash seen for the first time is recorded.

        Args:
            path: the file; a folder passes.
            published: its known SHA-256, or a prefix of it.
        """
        if path.is_dir():
            return None
        try:
            status = os.stat(path)
            stamp = [status.st_size, status.st_mtime_ns]
            key = str(path)
            entry = self._known.get(key)
            if entry is not None and entry.get("stamp") == stamp:
                digest = entry["sha256"]
            else:
                digest = file_digest(path)
        except OSError as error:
            refused = storage_error(error, path)
            if refused is not None:
                raise refused from error
            return f"cannot be read ({error.strerror})"
        if published is not None and not digest.startswith(published):
            return f"has SHA-256 {digest[:12]}..., the published file {published[:12]}..."
        if entry is not None and entry["sha256"] != digest:
            return (
                f"has SHA-256 {digest[:12]}..., when first used on {entry['first_used']} it had "
                f"{entry['sha256'][:12]}...: put that file back, or delete {self._path} to accept"
            )
        first = entry["first_used"] if entry else time.strftime("%Y-%m-%d")
        now = {"sha256": digest, "stamp": stamp, "first_used": first}
        self._changed |= now != entry
        self._known[key] = now
        return None

    def save(self) -> None:
        """Write the record if it has changed."""
        if self._changed:
            write_json(self._path, self._known)
