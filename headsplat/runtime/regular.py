"""Opening of foreign files: regular ones alone, because a pipe blocks and a device has no end."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_regular(path: Path | str) -> BinaryIO:
    """Open for reading in binary, without waiting.

    Raises:
        OSError: it cannot be opened, or is a folder, a pipe, a socket or a device.
    """
    # Without O_NONBLOCK a pipe that nobody writes to would block.
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
    """All bytes of a file, of which there may be `most`; errors as `open_regular`."""
    with open_regular(path) as handle:
        size = os.fstat(handle.fileno()).st_size
        if size > most:
            raise OSError(
                errno.EFBIG, f"larger than the {most >> 20} MiB that it may have", str(path)
            )
        data = handle.read(size)
        # What lies behind its size would be passed over, as in files that the kernel makes up.
        if len(data) != size or handle.read(1):
            raise OSError(errno.EBUSY, "its size changed while it was read", str(path))
        return data
