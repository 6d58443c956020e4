"""Reader of untrusted `.npz` and `.npy` files: arrays of numbers and strings, without pickle.

The size that a header claims is compared with the file before memory is allocated.
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
from headsplat.runtime.zips import UnpackBudget, fill, zip_size

# Exceptions of Python's parser, which parses the header's text.
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
        names: names of the arrays, in the file's order.

    Raises:
        BROKEN: it cannot be opened, or is not a zip.
    """

    def __init__(self, path: Path | str) -> None:
        self._file = open_regular(path)
        try:
            self._zip = zipfile.ZipFile(self._file)
            self._room = UnpackBudget(zip_size(self._zip))
        except BaseException:
            self._file.close()
            raise
        self._members = {info.filename.removesuffix(_SUFFIX): info for info in self._zip.infolist()}
        self.names = tuple(self._members)

    def read(self, name: str) -> np.ndarray:
        """Read one array.

        Raises:
            BROKEN: it is missing, damaged, too large, or has another type than numbers or strings.
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
    """Read an `.npy`.

    Raises:
        BROKEN: it cannot be opened, is damaged, or has another type than numbers or strings.
    """
    with open_regular(path) as handle:
        return _read_array(handle, os.fstat(handle.fileno()).st_size, Path(path).name)


def array_of(content: bytes, name: str) -> np.ndarray:
    """Decode the bytes of an `.npy`; errors as `read_npy`, with `name` in their messages."""
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
        raise ValueError("its strings have invalid Unicode code points")
    return array


def _codes(dtype: np.dtype) -> np.dtype:
    """Dtype of the code points of a Unicode string array."""
    return np.dtype("u4").newbyteorder(dtype.byteorder)


class _Counted:
    """Counts the bytes of the header, so that the size of the data is known."""

    def __init__(self, handle: IO[bytes]) -> None:
        self._handle = handle
        self.count = 0

    def read(self, size: int) -> bytes:
        """Read `size` bytes."""
        data = self._handle.read(size)
        self.count += len(data)
        return data
