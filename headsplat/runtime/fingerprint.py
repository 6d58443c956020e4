"""Whether a file is still the one it was: by all its bytes, or by a few of a large one."""

import hashlib
import os
from pathlib import Path

from headsplat.runtime.regular import open_regular

_PIECE = 1 << 16


def file_digest(path: Path | str) -> str:
    """SHA-256 of a file's bytes, in hexadecimal digits; errors as `open_regular`."""
    with open_regular(path) as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def fingerprint(path: Path) -> str:
    """Hash of a file's size, its beginning, its middle and its end (64 KiB each).

    Any new encoding of a recording changes the tables of its container, which stand at one of the
    ends. A copy, a `touch` or a restored backup leaves it as it is.
    """
    with open_regular(path) as handle:
        size = os.fstat(handle.fileno()).st_size
        digest = hashlib.sha256(str(size).encode())
        for offset in (0, size // 2, size - _PIECE):
            handle.seek(max(0, offset))
            digest.update(handle.read(_PIECE))
    return digest.hexdigest()[:16]
