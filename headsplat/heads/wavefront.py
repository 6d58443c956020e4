"""Reading of triangle meshes with texture coordinates from Wavefront `.obj` text."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headsplat.runtime.errors import UserError, one_line
from headsplat.runtime.regular import read_regular

_LARGEST = 16 << 20  # bytes; FLAME's mesh has 1 MB


@dataclass(frozen=True)
class TexturedMesh:
    """Vertices (V, 3) f32, uv (T, 2) f32 with v up, faces and uv_faces (F, 3) i32 from 0."""

    vertices: np.ndarray
    uv: np.ndarray
    faces: np.ndarray
    uv_faces: np.ndarray


def read_textured_mesh(path: Path | str) -> TexturedMesh:
    """Read `v`, `vt` and triangular `f a/ta[/na] ...` lines; other lines are skipped.

    Raises:
        UserError: unreadable, a face that is no triangle or has no texture coordinate, or an
            index beyond the file's vertices.
    """
    vertices: list[list[float]] = []
    uv: list[list[float]] = []
    corners: list[list[list[int]]] = []
    try:
        for line in read_regular(path, _LARGEST).decode().splitlines():
            kind, *rest = line.split() or ["#"]
            if kind == "v":
                vertices.append([float(text) for text in rest[:3]])
            elif kind == "vt":
                uv.append([float(text) for text in rest[:2]])
            elif kind == "f":
                corners.append([[int(i) for i in text.split("/")[:2]] for text in rest])
        indices = np.array(corners, dtype=np.int64)
        points, texture = np.array(vertices, np.float32), np.array(uv, np.float32)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (ValueError, OverflowError) as error:
        raise UserError(
            f"{path}: not a triangle mesh ({one_line(error)}); download it again"
        ) from error
    if indices.ndim != 3 or indices.shape[1:] != (3, 2):
        raise UserError(f"{path}: expected triangles 'f v/vt v/vt v/vt'; download it again")
    indices -= 1
    highest = (len(points), len(texture))
    if indices.min() < 0 or (indices.reshape(-1, 2).max(0) >= highest).any():
        raise UserError(f"{path}: a face numbers vertices outside the file; download it again")
    indices = indices.astype(np.int32)
    return TexturedMesh(points, texture, indices[..., 0].copy(), indices[..., 1].copy())
