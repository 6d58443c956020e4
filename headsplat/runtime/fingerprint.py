"""File hashes: SHA-256 of all bytes, or a fast fingerprint of a large file."""

import hashlib
import os
from pathlib import Path

from headsplat.runtime.regular import open_regular

_PIECE = 1 << 16


def file_digest(path: Path | str) -> str:
    """SHA-256 of a file in hexadecimal digits; errors as `open_regular`."""
    with open_regular(path) as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def fingerprint(path: Path) -> str:
    """Hash of a file's size and of 64 KiB each at its start, middle and end.

    Re-encoding a video changes the tables of its container, which are at one of the ends. A copy,
    a `touch` or a restored backup does not change the fingerprint.
    """
    with open_regular(path) as handle:
        size = os.fstat(handle.fileno()).st_size
        digest = hashlib.sha256(str(size).encode())
        for offset in (0, size // 2, size - _PIECE):
            handle.seek(max(0, offset))
            digest.update(handle.read(_PIECE))
    return digest.hexdigest()[:16]
