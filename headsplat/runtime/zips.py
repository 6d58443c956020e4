"""Reader of untrusted zips: checks a member's claimed size before it allocates memory."""

import lzma
import struct
import zipfile
import zlib
from typing import IO

# Exceptions that `zipfile` and its decompressors raise for damaged zips.
BROKEN = (
    OSError, EOFError, LookupError, MemoryError, RuntimeError, ValueError, lzma.LZMAError,
    struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
# All members may unpack to 64 MiB, or to 64 times the size of the file.
_FREE, _TIMES = 64 << 20, 64
_PIECE = 1 << 20


class UnpackBudget:
    """Number of bytes that may still be unpacked from one zip, against zip bombs.

    Args:
        size: size of the zip file in bytes.
    """

    def __init__(self, size: int) -> None:
        self.left = max(_FREE, _TIMES * size)

    def take(self, info: zipfile.ZipInfo) -> int:
        """Subtract a member's unpacked size from the budget and return it.

        Raises:
            ValueError: it is encrypted, or exceeds the budget.
        """
        if info.flag_bits & 1:
            raise ValueError(f"'{info.filename[:60]}' is encrypted")
        if info.file_size > self.left:
            raise ValueError(f"'{info.filename[:60]}' claims {info.file_size} bytes")
        self.left -= info.file_size
        return info.file_size


def zip_size(archive: zipfile.ZipFile) -> int:
    """Size in bytes of an open zip file."""
    handle = archive.fp
    handle.seek(0, 2)
    return handle.tell()


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, room: UnpackBudget) -> bytearray:
    """Read one member and check its CRC-32.

    Raises:
        BROKEN: it is damaged or too large.
    """
    data = bytearray(room.take(info))
    with archive.open(info) as handle:
        fill(handle, memoryview(data), info.filename)
    return data


def fill(handle: IO[bytes], room: memoryview, name: str) -> None:
    """Fill `room` from an open member, in pieces, because `readinto` copies each piece."""
    at = 0
    while at < len(room):
        count = handle.readinto(room[at : at + _PIECE])
        if not count:
            raise ValueError(f"'{name[:60]}' is cut short")
        at += count
    # zipfile checks the CRC-32 when it reads past the end.
    handle.read(1)
