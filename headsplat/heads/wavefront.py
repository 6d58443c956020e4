"""Wavefront OBJ meshes, read at the speed of numpy's text parser.

Only lines that start with "v ", "vt " or "f " count; other lines are skipped.
"""

import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headsplat.runtime.errors import UserError, one_line
from headsplat.runtime.regular import read_regular

_LARGEST = 16 << 20  # bytes; FLAME's mesh has 1 MB
_BAD_FACES = "its faces are not 'f vertex/texture[/normal]' with three or four corners"


@dataclass(frozen=True)
class TexturedMesh:
    """Vertices (V, 3) f32, uv (T, 2) f32 with v up, faces and uv_faces (F, 3) i32 from 0."""

    vertices: np.ndarray
    uv: np.ndarray
    faces: np.ndarray
    uv_faces: np.ndarray


def read_textured_mesh(path: Path | str) -> TexturedMesh:
    """Read a mesh of triangles with texture coordinates.

    Raises:
        UserError: an unreadable file, a line that is not numeric or differs in length, a face that
            is not a textured triangle, or an index out of range.
    """
    try:
        data = read_regular(path, _LARGEST)
        points = parse_rows(data, b"v", 3).astype(np.float32)
        texture = parse_rows(data, b"vt", 2).astype(np.float32)
        faces, uv_faces = parse_faces(face_block(data))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (ValueError, OverflowError) as error:
        raise UserError(
            f"{path}: not a triangle mesh ({one_line(error)}); download it again"
        ) from error
    if (faces[:, 3] >= 0).any():
        raise UserError(f"{path}: expected triangles 'f v/vt v/vt v/vt'; download it again")
    faces, uv_faces = faces[:, :3].copy(), uv_faces[:, :3].copy()
    low = min(faces.min(), uv_faces.min())
    if low < 0 or faces.max() >= len(points) or uv_faces.max() >= len(texture):
        raise UserError(f"{path}: a face numbers vertices outside the file; download it again")
    return TexturedMesh(points, texture, faces, uv_faces)


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
    """Polygons of three or four corners from a `face_block`; normals are dropped.

    Returns:
        (P, 4) i32 vertex numbers and (P, 4) i32 texture coordinate numbers, from 0; the fourth
        corner of a triangle is -1.

    Raises:
        ValueError: a polygon has another number of corners or lacks texture coordinates.
    """
    # A line without its digits shows the number of corners and of indices per corner.
    lines = block.translate(None, b"0123456789").split(b"\n")
    shapes = {line: line.split() for line in set(lines)}
    marks = {mark for shape in shapes.values() for mark in shape}
    sizes = {line: len(shape) for line, shape in shapes.items()}
    if len(marks) != 1 or not marks <= {b"/", b"//"} or not set(sizes.values()) <= {3, 4}:
        raise ValueError(_BAD_FACES)
    width = 1 + len(marks.pop())
    corners = np.array([sizes[line] for line in lines], dtype=np.int64)
    values = _numbers(block.replace(b"/", b" "), np.int64)
    if len(values) != width * corners.sum() or values.max() > np.iinfo(np.int32).max:
        raise ValueError(_BAD_FACES)
    values = values.reshape(-1, width) - 1
    polygons = np.full((2, len(lines), 4), -1, dtype=np.int32)
    where = np.arange(4) < corners[:, None]
    polygons[0][where], polygons[1][where] = values[:, 0], values[:, 1]
    return polygons[0], polygons[1]


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
        # numpy only warns about text that is not a number and returns a partial result.
        warnings.simplefilter("error", DeprecationWarning)
        try:
            return np.fromstring(text, dtype=dtype, sep=" ")
        except DeprecationWarning as error:
            raise ValueError("it has a line that is not made of numbers") from error
