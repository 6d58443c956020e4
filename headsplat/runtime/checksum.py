"""Checksums inside the files that stages exchange, where a format brings none of its own.

A disk or a copy that turns a bit must not turn a result. Zips and `.npz` hold a CRC-32 of each
member; JSON, `.npy` and the list of a zip's members get one here. It is the last thing in the
file, and other readers pass it over. What carries none, such as a file that a user wrote, is taken
as it is.
"""

import io
import json
import os
import re
import struct
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from headsplat.runtime.regular import open_regular

KEY = "crc32"
_JSON_END = re.compile(rb',?\n "crc32": "([0-9a-f]{8})"\n}\n\Z')
# The last bytes of a zip without a comment: a mark, and the number of members.
_ZIP_END = struct.Struct("<4s6xH10x")
_NPY_END = re.compile(rb"crc32 ([0-9a-f]{8})\n\Z")


class ChecksumError(ValueError):
    """The content is not what was written."""


def _check(content: bytes, found: bytes) -> None:
    if b"%08x" % crc32(content) != found:
        raise ChecksumError("its checksum does not match: it was changed after it was written")


def json_text(value: Any) -> str:
    """`value` as JSON; a dictionary ends in the checksum of the text before it, under `KEY`.

    Raises:
        ValueError: NaN or infinity, which JSON lacks.
    """
    text = json.dumps(value, indent=1, allow_nan=False)
    if not isinstance(value, dict):
        return text + "\n"
    body = text.removesuffix("}").removesuffix("\n")
    comma = "," if value else ""
    return f'{body}{comma}\n "{KEY}": "{crc32(body.encode()):08x}"\n}}\n'


def json_value(data: bytes) -> Any:
    """The inverse of `json_text`, for any JSON.

    Raises:
        ChecksumError: there is a checksum, and it does not fit.
        ValueError: no JSON, or nested too deep.
    """
    end = _JSON_END.search(data)
    if end:
        _check(data[: end.start()], end[1])
    try:
        value = json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    if isinstance(value, dict):
        # Elsewhere it is from before another program wrote the file.
        value.pop(KEY, None)
    return value


def npy_bytes(array: np.ndarray) -> bytes:
    """`array` as `.npy`, and behind it a line with the checksum, which numpy does not read."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue() + b"crc32 %08x\n" % crc32(buffer.getvalue())


def npy_content(data: bytes) -> tuple[bytes, bool]:
    """The bytes of an `.npy` without its checksum, and whether it had one.

    Raises:
        ChecksumError: it does not fit.
    """
    end = _NPY_END.search(data)
    if end is None:
        return data, False
    _check(data[: end.start()], end[1])
    return data[: end.start()], True


def require_members(path: Path | str, count: int) -> None:
    """Hold the members found in an `.npz` against the number at its end; the reader does not.

    Raises:
        ChecksumError: some were passed over.
    """
    with open_regular(path) as handle:
        handle.seek(-_ZIP_END.size, os.SEEK_END)
        mark, announced = _ZIP_END.unpack(handle.read())
    if mark == b"PK\5\6" and announced not in (count, 0xFFFF):
        raise ChecksumError(f"it has {count} of {announced} members")


def zip_comment(members: Iterable[zipfile.ZipInfo]) -> bytes:
    """The checksum of a zip's list of members, which has none of its own."""
    rows = (f"{m.filename} {m.CRC} {m.file_size} {m.header_offset}\n" for m in members)
    return b"crc32 %08x" % crc32("".join(rows).encode())
