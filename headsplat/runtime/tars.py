"""Reading of foreign tars, also compressed ones, as a stream: regular files, and nothing else.

Python's `tarfile` takes as much memory as a long name or a map of holes claims. Here names have at
most some kB, and links, devices and files with holes are passed over.
"""

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import BinaryIO

_BLOCK, _PIECE = 512, 1 << 16
# Bytes of a long name with all that is said beside it, of what a whole tar unpacks to, and of
# the memory that unpacking takes: "xz -9" wants 64 MiB.
_LONGEST_NAME, _MOST, _MEMORY = 1 << 16, 8 << 30, 256 << 20
_MOST_MEMBERS = 1_000_000
_WITHOUT_DATA = (
    tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE,
    tarfile.FIFOTYPE,
)  # fmt: skip
_EXTENDED = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)


class TarMember:
    """A regular file; `read` before the next one is asked for."""

    def __init__(self, stream: "_Stream", name: str, size: int) -> None:
        self.name, self.size = PurePosixPath(name), size
        self._stream = stream
        self.left = size

    def read(self) -> bytes:
        """All of it."""
        data = self._stream.exactly(self.left)
        self.left = 0
        return data


def tar_members(handle: BinaryIO) -> Iterator[TarMember]:
    """The regular files of a tar, plain or compressed by gzip, bzip2 or xz.

    Raises:
        tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError: damaged, or too large.
    """
    stream = _Stream(_unpacked(handle))
    long_name: str | None = None
    for _ in range(_MOST_MEMBERS):
        block = stream.exactly(_BLOCK)
        if not block.strip(b"\0"):
            return
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        if info.size < 0:
            raise tarfile.ReadError("a file of negative size")
        padded = -(-info.size // _BLOCK) * _BLOCK
        if info.type == tarfile.GNUTYPE_LONGNAME or info.type in _EXTENDED:
            if info.size > _LONGEST_NAME:
                raise tarfile.ReadError(f"a name of {info.size} bytes")
            data = stream.exactly(padded)[: info.size]
            found = data.rstrip(b"\0") if info.type not in _EXTENDED else _path(data)
            long_name = found.decode("utf-8", "surrogateescape") if found else long_name
            continue
        member = TarMember(stream, long_name or info.name, info.size)
        if info.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not info.isdir():
            yield member
        elif info.type in _WITHOUT_DATA:
            padded = member.left = 0
        long_name = None if info.type != tarfile.GNUTYPE_LONGLINK else long_name
        stream.skip(padded - member.size + member.left)
    raise tarfile.ReadError(f"it has more than {_MOST_MEMBERS} files")


def _path(records: bytes) -> bytes:
    """The path that an extended header gives, or nothing: lines of length, key and value."""
    while records:
        length, _, _ = records[:20].partition(b" ")
        if not length.isdigit() or not len(length) < int(length) <= len(records):
            raise tarfile.ReadError("a header without its length")
        key, _, value = records[len(length) + 1 : int(length) - 1].partition(b"=")
        if key == b"path":
            return value
        records = records[int(length) :]
    return b""


def _unpacked(handle: BinaryIO) -> BinaryIO:
    start = handle.read(6)
    handle.seek(0)
    if start.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=handle)
    if start.startswith(b"BZh"):
        return bz2.BZ2File(handle)
    return io.BufferedReader(_Xz(handle)) if start == b"\xfd7zXZ\0" else handle


class _Xz(io.RawIOBase):
    """As `lzma.LZMAFile`, which takes any memory that the file asks for."""

    def __init__(self, handle: BinaryIO) -> None:
        self._handle = handle
        self._codec = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY)

    def readable(self) -> bool:
        """As a file's."""
        return True

    def readinto(self, room: memoryview) -> int:
        """As a file's."""
        data = b""
        while not data and not self._codec.eof:
            packed = self._handle.read(_PIECE) if self._codec.needs_input else b""
            if self._codec.needs_input and not packed:
                raise EOFError("the compressed file ends too early")
            data = self._codec.decompress(packed, len(room))
        room[: len(data)] = data
        return len(data)


class _Stream:
    def __init__(self, handle: BinaryIO) -> None:
        self._handle, self._left = handle, _MOST

    def exactly(self, size: int) -> bytes:
        """So many bytes."""
        self._left -= size
        if self._left < 0:
            raise tarfile.ReadError(f"it unpacks to more than {_MOST >> 30} GiB")
        data = self._handle.read(size)
        if len(data) != size:
            raise EOFError("it ends too early")
        return data

    def skip(self, size: int) -> None:
        """Pass over so many bytes."""
        while size > 0:
            size -= len(self.exactly(min(size, _PIECE)))
