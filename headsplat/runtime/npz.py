"""Reading of `.npz` and `.npy` files: plain numbers and strings, and no more than the file holds.

What a header claims is compared with the bytes that are there before memory is taken for it.
"""

import io
import math
import os
import tokenize
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from headsplat.runtime.regular import open_regular
from headsplat.runtime.zips import ZipRoom, fill, size_of

# The text of a header goes through Python's parser, which has its own ways to fail.
_HEADER_DAMAGE = (MemoryError, RecursionError, SyntaxError, TypeError, tokenize.TokenError)
_SUFFIX = ".npy"
_KINDS = "biufSU"
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class Npz:
    """An open `.npz`.

    Attributes:
        names: of its arrays, in the file's order.

    Raises:
        BROKEN: it cannot be opened, or is no zip.
    """

    def __init__(self, path: Path | str) -> None:
        self._file = open_regular(path)
        try:
            self._zip = zipfile.ZipFile(self._file)
            self._room = ZipRoom(size_of(self._zip))
        except BaseException:
            self._file.close()
            raise
        self._members = {info.filename.removesuffix(_SUFFIX): info for info in self._zip.infolist()}
        self.names = tuple(self._members)

    def read(self, name: str) -> np.ndarray:
        """One array.

        Raises:
            BROKEN: not there, damaged, too large, or of neither numbers nor strings.
        """
        info = self._members[name]
        size = self._room.take(info)
        with self._zip.open(info) as handle:
            return _read_array(handle, size, name)

    def close(self) -> None:
        """Close the file."""
        self._zip.close()
        self._file.close()

    def __enter__(self) -> "Npz":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_npy(path: Path | str) -> np.ndarray:
    """The array of an `.npy`.

    Raises:
        BROKEN: it cannot be opened, is damaged, or of neither numbers nor strings.
    """
    with open_regular(path) as handle:
        return _read_array(handle, os.fstat(handle.fileno()).st_size, Path(path).name)


def array_of(content: bytes, name: str) -> np.ndarray:
    """The array that the bytes of an `.npy` are; errors as `read_npy`, which name it by `name`."""
    return _read_array(io.BytesIO(content), len(content), name)


def _read_array(handle: IO[bytes], size: int, name: str) -> np.ndarray:
    """The array of an open `.npy` of `size` bytes."""
    counted = _Counted(handle)
    version = np.lib.format.read_magic(counted)
    if version not in _HEADERS:
        raise ValueError("an .npy of an unknown version")
    try:
        shape, fortran, dtype = _HEADERS[version](counted)
    except _HEADER_DAMAGE as error:
        raise ValueError("its header is damaged") from error
    if dtype.kind not in _KINDS or dtype.itemsize == 0 or dtype.shape:
        raise ValueError(f"it holds {str(dtype)[:60]}, not numbers or strings")
    if any(type(axis) is not int or axis < 0 for axis in shape):
        raise ValueError("its header has no shape")
    wanted, there = math.prod(shape) * dtype.itemsize, size - counted.count
    if wanted != there:
        raise ValueError(f"its header claims {wanted} bytes, it has {there}")
    data = np.empty(wanted, np.uint8)
    fill(handle, memoryview(data), name)
    array = np.ndarray(shape, dtype, data, order="F" if fortran else "C")
    if dtype.kind == "U" and data.size and array.reshape(-1).view(_codes(dtype)).max() > 0x10FFFF:
        raise ValueError("its strings hold codes that are no characters")
    return array


def _codes(dtype: np.dtype) -> np.dtype:
    """Of the numbers that the characters of a string are."""
    return np.dtype("u4").newbyteorder(dtype.byteorder)


class _Counted:
    """Counts what is read of a header."""

    def __init__(self, handle: IO[bytes]) -> None:
        self._handle = handle
        self.count = 0

    def read(self, size: int) -> bytes:
        """As a file's."""
        data = self._handle.read(size)
        self.count += len(data)
        return data
