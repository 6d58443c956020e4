"""Reading of foreign zips: what a member claims is checked before memory is taken for it."""

import lzma
import struct
import zipfile
import zlib
from typing import IO

# What damaged and foreign zips make `zipfile` and its decompressors raise.
BROKEN = (
    OSError, EOFError, LookupError, MemoryError, RuntimeError, ValueError, lzma.LZMAError,
    struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
# Compressed members may grow to this, and to so many times the file.
_FREE, _TIMES = 64 << 20, 64
_PIECE = 1 << 20


class ZipRoom:
    """Bytes that may still be unpacked from one zip.

    Args:
        size: of the file, in bytes.
    """

    def __init__(self, size: int) -> None:
        self.left = max(_FREE, _TIMES * size)

    def take(self, info: zipfile.ZipInfo) -> int:
        """The member's size, which counts from now on.

        Raises:
            ValueError: encrypted, or too large for such a file.
        """
        if info.flag_bits & 1:
            raise ValueError(f"'{info.filename[:60]}' is encrypted")
        if info.file_size > self.left:
            raise ValueError(f"'{info.filename[:60]}' claims {info.file_size} bytes")
        self.left -= info.file_size
        return info.file_size


def size_of(archive: zipfile.ZipFile) -> int:
    """Bytes of the file that was opened."""
    handle = archive.fp
    handle.seek(0, 2)
    return handle.tell()


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, room: ZipRoom) -> bytearray:
    """One member, whole and of the right checksum.

    Raises:
        BROKEN: damaged, or too large.
    """
    data = bytearray(room.take(info))
    with archive.open(info) as handle:
        fill(handle, memoryview(data), info.filename)
    return data


def fill(handle: IO[bytes], room: memoryview, name: str) -> None:
    """Fill `room` from an open member, in pieces: it may be large, and each piece is a copy."""
    at = 0
    while at < len(room):
        count = handle.readinto(room[at : at + _PIECE])
        if not count:
            raise ValueError(f"'{name[:60]}' is cut short")
        at += count
    # The checksum is compared at the end.
    handle.read(1)
