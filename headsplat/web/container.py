"""HSWB, the file of an avatar for browsers: JSON and arrays, deflated once.

Inflated, it is: "HSWB", u32 version, u32 length of the JSON, the JSON, the arrays. All numbers are
little-endian. `arrays` of the JSON gives each array's `offset` from the first one, `shape` and
`dtype`. Numbers of several bytes are stored in byte planes: the first byte of all numbers, then the
second. Planes deflate better, because exponents and high bytes are alike.
"""

import json
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from headsplat.runtime.errors import UserError, shown

MAGIC, VERSION = b"HSWB", 1
# Of the inflated file and of its JSON; `payload.js` has the same.
MOST_BYTES, MOST_JSON = 1 << 29, 1 << 22
DTYPES = {"f4": "<f4", "f2": "<f2", "i1": "i1", "u1": "u1", "i2": "<i2", "u2": "<u2", "u4": "<u4"}
_HEAD = struct.Struct("<4sII")
_MOST_AXES = 4
_NAMES = {np.dtype(kind): name for name, kind in DTYPES.items()}


def write_payload(meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """The deflated file.

    Args:
        meta: JSON values; `arrays` is added.
        arrays: name -> array of a type in `DTYPES`.

    Raises:
        UserError: it would be larger than browsers are asked to read.
        TypeError: an array of another type.
    """
    table, parts, offset = {}, [], 0
    for name, array in arrays.items():
        if array.dtype not in _NAMES:
            raise TypeError(f"array '{name}': {array.dtype} is not one of {', '.join(DTYPES)}")
        table[name] = {
            "offset": offset, "shape": list(array.shape), "dtype": _NAMES[array.dtype]
        }  # fmt: skip
        parts.append(_planes(array))
        offset += array.nbytes
    text = json.dumps({**meta, "arrays": table}, allow_nan=False, separators=(",", ":")).encode()
    if len(text) > MOST_JSON or _HEAD.size + len(text) + offset > MOST_BYTES:
        raise UserError(
            f"the avatar takes {(len(text) + offset) >> 20} MiB in a browser, which reads up to "
            f"{MOST_BYTES >> 20}; train fewer Gaussians or bases"
        )
    # Most bytes are small whole numbers without repetitions: filtered, they take 3 % less.
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS, strategy=zlib.Z_FILTERED)
    pieces = (_HEAD.pack(MAGIC, VERSION, len(text)), text, *parts)
    return b"".join([*(packer.compress(piece) for piece in pieces), packer.flush()])


def read_payload(packed: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """JSON and arrays of a deflated file.

    Raises:
        UserError: it is damaged, or larger than `MOST_BYTES`.
    """
    inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    try:
        content = inflater.decompress(packed, MOST_BYTES)
    except zlib.error as error:
        raise _broken(f"not deflated ({error})") from error
    if not inflater.eof:
        raise _broken(f"cut, or over {MOST_BYTES} bytes")
    if len(content) < _HEAD.size:
        raise _broken("cut")
    magic, version, length = _HEAD.unpack_from(content)
    start = _HEAD.size + length
    if magic != MAGIC or version != VERSION or length > MOST_JSON or start > len(content):
        raise _broken(f"its first bytes are not those of {MAGIC.decode()} version {VERSION}")
    try:
        meta = json.loads(content[_HEAD.size : start])
        table = meta.pop("arrays")
        arrays = {name: _array(content[start:], name, entry) for name, entry in table.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _broken("its JSON does not describe its arrays") from error
    return meta, arrays


def _planes(array: np.ndarray) -> bytes:
    rows = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return np.ascontiguousarray(rows.reshape(-1, array.dtype.itemsize).T).tobytes()


def _array(content: bytes, name: str, entry: Mapping[str, Any]) -> np.ndarray:
    shape, offset, kind = entry["shape"], entry["offset"], np.dtype(DTYPES[entry["dtype"]])
    sizes = [offset, *shape]
    if len(shape) > _MOST_AXES or not all(type(n) is int and 0 <= n <= MOST_BYTES for n in sizes):
        raise _broken(f"the shape of '{shown(name)}'")
    count = 1
    for size in shape:
        count *= size
    piece = content[offset : offset + count * kind.itemsize]
    if len(piece) != count * kind.itemsize:
        raise _broken(f"'{shown(name)}' is cut")
    rows = np.frombuffer(piece, np.uint8).reshape(kind.itemsize, count)
    return np.ascontiguousarray(rows.T).view(kind).reshape(shape)


def _broken(what: str) -> UserError:
    return UserError(f"web payload: damaged, {what}; export it again")
