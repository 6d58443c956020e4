"""CRC-32 checksums embedded in JSON, `.npy` and the member lists of zips.

They detect bits flipped by a disk or a copy. Zips and `.npz` already have a CRC-32 per member. The
checksum is the last item of a file, and other readers ignore it. A file without one, such as a
file that a user wrote, is not checked.
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
# End-of-central-directory record of a zip without a comment: signature and number of members.
_ZIP_END = struct.Struct("<4s6xH10x")
_NPY_END = re.compile(rb"crc32 ([0-9a-f]{8})\n\Z")


class ChecksumError(ValueError):
    """The content does not match its checksum."""


def _check(content: bytes, found: bytes) -> None:
    if b"%08x" % crc32(content) != found:
        raise ChecksumError("its checksum does not match: it was changed after it was written")


def json_text(value: Any) -> str:
    """Encode `value` as JSON; a dictionary gets the checksum of the preceding text under `KEY`.

    Raises:
        ValueError: NaN or infinity, which JSON does not have.
    """
    text = json.dumps(value, indent=1, allow_nan=False)
    if not isinstance(value, dict):
        return text + "\n"
    body = text.removesuffix("}").removesuffix("\n")
    comma = "," if value else ""
    return f'{body}{comma}\n "{KEY}": "{crc32(body.encode()):08x}"\n}}\n'


def json_value(data: bytes) -> Any:
    """Decode JSON, with or without the checksum of `json_text`.

    Raises:
        ChecksumError: the checksum does not match.
        ValueError: not JSON, or nested too deep.
    """
    end = _JSON_END.search(data)
    if end:
        _check(data[: end.start()], end[1])
    try:
        value = json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    if isinstance(value, dict):
        # A key in another position is stale: another program has rewritten the file.
        value.pop(KEY, None)
    return value


def npy_bytes(array: np.ndarray) -> bytes:
    """Encode `array` as `.npy`, followed by a checksum line that numpy does not read."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue() + b"crc32 %08x\n" % crc32(buffer.getvalue())


def npy_content(data: bytes) -> tuple[bytes, bool]:
    """The bytes of an `.npy` without its checksum, and whether it had one.

    Raises:
        ChecksumError: the checksum does not match.
    """
    end = _NPY_END.search(data)
    if end is None:
        return data, False
    _check(data[: end.start()], end[1])
    return data[: end.start()], True


def require_members(path: Path | str, count: int) -> None:
    """Compare the number of members found in an `.npz` with the number in its last record.

    `zipfile` does not check this.

    Raises:
        ChecksumError: the numbers differ.
    """
    with open_regular(path) as handle:
        handle.seek(-_ZIP_END.size, os.SEEK_END)
        mark, announced = _ZIP_END.unpack(handle.read())
    if mark == b"PK\5\6" and announced not in (count, 0xFFFF):
        raise ChecksumError(f"it has {count} of {announced} members")


def zip_comment(members: Iterable[zipfile.ZipInfo]) -> bytes:
    """A zip comment with the checksum of its member list, which the format does not protect."""
    rows = (f"{m.filename} {m.CRC} {m.file_size} {m.header_offset}\n" for m in members)
    return b"crc32 %08x" % crc32("".join(rows).encode())
