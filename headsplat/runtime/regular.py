"""Opening of untrusted paths: regular files only, because pipes block and devices do not end."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_regular(path: Path | str) -> BinaryIO:
    """Open a regular file for binary reading, without blocking.

    Raises:
        OSError: it cannot be opened, or is a folder, a pipe, a socket or a device.
    """
    # Without O_NONBLOCK, opening a pipe without a writer would block.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        mode = os.fstat(handle).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_regular(path: Path | str, most: int) -> bytes:
    """All bytes of a regular file.

    Raises:
        OSError: as `open_regular`; larger than `most` bytes; or its size changed meanwhile.
    """
    with open_regular(path) as handle:
        size = os.fstat(handle.fileno()).st_size
        if size > most:
            raise OSError(
                errno.EFBIG, f"larger than the {most >> 20} MiB that it may have", str(path)
            )
        data = handle.read(size)
        # Files of /proc have size 0 but content, and a growing file has more than its size.
        if len(data) != size or handle.read(1):
            raise OSError(errno.EBUSY, "its size changed while it was read", str(path))
        return data
