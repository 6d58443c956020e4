"""Reading of Wavefront OBJ at the speed of numpy's text parser."""

import re
import warnings

import numpy as np


def _block(data: bytes, key: bytes) -> bytes:
    """The lines that start with `key` and a space, without the key, joined by newlines."""
    data = b"\n" + data.replace(b"\r", b"")
    marker = b"\n" + key + b" "
    start = data.find(marker)
    if start < 0:
        return b""
    stop = data.find(b"\n", data.rfind(marker) + 1)
    text = data[start:] if stop < 0 else data[start:stop]
    text = re.sub(rb"\n(?!" + key + rb" )[^\n]*", b"", text)
    return text.replace(marker, b"\n")[1:]


def _numbers(text: bytes, dtype: type) -> np.ndarray:
    with warnings.catch_warnings():
        # numpy only warns about text that is no number and returns what it read so far.
        warnings.simplefilter("error", DeprecationWarning)
        try:
            return np.fromstring(text, dtype=dtype, sep=" ")
        except DeprecationWarning as error:
            raise ValueError("it has a line that is not made of numbers") from error


def parse_rows(data: bytes, key: bytes, columns: int) -> np.ndarray:
    """All `key` lines ("v", "vt") of an OBJ, (n, columns) float64; further columns are dropped.

    Raises:
        ValueError: a line is not made of numbers, or the lines differ in length.
    """
    text = _block(data, key)
    rows = text.count(b"\n") + 1 if text else 0
    values = _numbers(text, np.float64)
    if rows == 0 or len(values) % rows or len(values) // rows < columns:
        raise ValueError(f"its '{key.decode()}' lines are missing or cut short")
    return values.reshape(rows, -1)[:, :columns]


def face_block(data: bytes) -> bytes:
    """The text of all "f" lines: equal text means equal topology."""
    return _block(data, b"f")


def parse_faces(block: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Polygons of three or four corners from a `face_block`.

    Returns:
        (P, 4) i32 vertex numbers and (P, 4) i32 texture coordinate numbers, from 0; the fourth
        corner of a triangle is -1.

    Raises:
        ValueError: a polygon has another number of corners or lacks texture coordinates.
    """
    lines = block.split(b"\n") if block else []
    corners = np.array([len(line.split()) for line in lines], dtype=np.int64)
    slashes = np.array([line.count(b"/") for line in lines], dtype=np.int64)
    if not len(lines) or not np.isin(corners, (3, 4)).all() or (slashes != corners).any():
        raise ValueError("its faces are not 'f vertex/texture' with three or four corners")
    values = _numbers(block.replace(b"/", b" "), np.int64)
    if len(values) != 2 * corners.sum() or np.abs(values).max() > np.iinfo(np.int32).max:
        raise ValueError("its faces are not 'f vertex/texture' with three or four corners")
    polygons = np.full((2, len(lines), 4), -1, dtype=np.int32)
    where = np.arange(4) < corners[:, None]
    polygons[0][where], polygons[1][where] = values[::2] - 1, values[1::2] - 1
    return polygons[0], polygons[1]
