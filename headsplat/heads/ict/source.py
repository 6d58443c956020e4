"""Read ICT-FaceKit's `FaceXModel/` from a folder, a zip or a tar, without unpacking it."""

import hashlib
import json
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np

from headsplat.heads.ict import parts
from headsplat.heads.wavefront import face_block, parse_faces, parse_rows
from headsplat.runtime.errors import UserError, one_line
from headsplat.runtime.regular import open_regular, read_regular
from headsplat.runtime.tars import tar_members
from headsplat.runtime.zips import BROKEN, UnpackBudget, read_member, zip_size

FOLDER = "FaceXModel"
# Size limit; the largest official file has 3 MB.
LARGEST_MEMBER = 16 << 20
_BROKEN = (*BROKEN, tarfile.TarError)


@dataclass(frozen=True)
class FaceXModel:
    """ICT-FaceKit in its own units and vertex numbering.

    Attributes:
        neutral: (V, 3) f32.
        identities: (100, V, 3) f32 differences from `neutral`, one per unit coefficient.
        expressions: (53, V, 3) f32 differences, in the order of `parts.EXPRESSIONS`.
        texture: (T, 2) f32 texture coordinates, u right, v up, several unit tiles.
        polygons: (P, 4) i32 corners; -1 is the fourth corner of a triangle.
        texture_polygons: (P, 4) i32, rows of `texture`.
        landmarks: (68,) i32 vertices in Multi-PIE order.
    """

    neutral: np.ndarray
    identities: np.ndarray
    expressions: np.ndarray
    texture: np.ndarray
    polygons: np.ndarray
    texture_polygons: np.ndarray
    landmarks: np.ndarray


def read_source(path: Path | str) -> FaceXModel:
    """Read the neutral mesh, the 100 identities and the 53 expressions.

    Args:
        path: the folder `FaceXModel` or one that holds it (at most two levels down), or a zip or
            tar (also compressed) that has such a folder.

    Raises:
        UserError: nothing there, not a known container, truncated, a file missing, or a file of
            another topology; the file is named.
    """
    path = Path(path)
    reader = _Reader(path)
    for name, data in _members(path):
        reader.add(name, data)
    return reader.finish()


class _Reader:
    """Collects the needed arrays from files in any order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        names = parts.wanted_files()
        self.slots = {name: row for row, name in enumerate(names[1:])}
        self.vertices = np.empty((len(self.slots), parts.VERTICES, 3), dtype=np.float32)
        self.missing = set(names)
        self.topology: dict[str, str] = {}
        self.faces: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.texture: np.ndarray | None = None
        self.landmarks: np.ndarray | None = None

    def add(self, name: str, data: bytes) -> None:
        try:
            if name == parts.INDICES:
                self.landmarks = _landmarks(data)
            else:
                self._add_obj(name, data)
        except (ValueError, OverflowError, RecursionError) as error:
            reason = "nested too deep" if isinstance(error, RecursionError) else one_line(error)
            raise self._error(name, f"cannot be read: {reason}") from error
        self.missing.discard(name)

    def _add_obj(self, name: str, data: bytes) -> None:
        points = parse_rows(data, b"v", 3)
        if len(points) != parts.VERTICES:
            what = f"has another topology: {len(points)} vertices, expected {parts.VERTICES}"
            raise self._error(name, what)
        block = face_block(data)
        digest = hashlib.sha256(block).hexdigest()
        if digest not in self.faces:
            faces = parse_faces(block)
            if len(faces[0]) != parts.POLYGONS:
                what = f"has another topology: {len(faces[0])} faces, expected {parts.POLYGONS}"
                raise self._error(name, what)
            self.faces[digest] = faces
        self.topology[name] = digest
        self.vertices[self.slots[name]] = points
        if name == parts.NEUTRAL:
            self.texture = parse_rows(data, b"vt", 2).astype(np.float32)

    def finish(self) -> FaceXModel:
        if self.missing:
            first = min(self.missing)
            more = f" (and {len(self.missing) - 1} more)" if len(self.missing) > 1 else ""
            raise self._error(first, f"is missing{more}")
        polygons, texture_polygons = self.faces[self.topology[parts.NEUTRAL]]
        self._check_neutral(polygons, texture_polygons)
        for name, digest in sorted(self.topology.items()):
            if not np.array_equal(self.faces[digest][0], polygons):
                what = f"has another topology: its faces differ from those of {parts.NEUTRAL}"
                raise self._error(name, what)
        neutral = self.vertices[0].copy()
        self.vertices -= neutral
        return FaceXModel(
            neutral=neutral,
            identities=self.vertices[1 : 1 + parts.IDENTITIES],
            expressions=self.vertices[1 + parts.IDENTITIES :],
            texture=self.texture,
            polygons=polygons,
            texture_polygons=texture_polygons,
            landmarks=self.landmarks,
        )

    def _check_neutral(self, polygons: np.ndarray, texture_polygons: np.ndarray) -> None:
        corners = texture_polygons[polygons >= 0]
        fits = polygons[:, :3].min() >= 0 and polygons.min() >= -1 and corners.min() >= 0
        fits = fits and polygons.max() < parts.VERTICES and corners.max() < len(self.texture)
        if not fits:
            raise self._error(parts.NEUTRAL, "has faces that number vertices it does not have")

    def _error(self, name: str, what: str) -> UserError:
        return UserError(
            f"{self.path}: {FOLDER}/{name} {what}; give an unchanged copy of ICT-FaceKit "
            "(folder, zip or tar)"
        )


def _landmarks(data: bytes) -> np.ndarray:
    table = json.loads(data)
    ids = table.get("idx_to_landmark_verts") if isinstance(table, dict) else None
    fits = isinstance(ids, list) and len(ids) == 68
    if not fits or not all(type(i) is int and 0 <= i <= 9408 for i in ids):
        raise ValueError("'idx_to_landmark_verts' is not a list of 68 vertices of the face")
    return np.array(ids, np.int32)


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield (file name, content) of the wanted files of the `FaceXModel` folder, each once."""
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; give ICT-FaceKit's folder, zip or tar")
    if path.is_dir():
        yield from _folder_members(path)
        return
    wanted, found = set(parts.wanted_files()), False
    try:
        with open_regular(path) as handle:
            zipped = zipfile.is_zipfile(handle)
            handle.seek(0)
            for name, data in _zip_members(handle) if zipped else _tar_members(handle):
                found = True
                if name in wanted:
                    wanted.discard(name)
                    yield name, data()
                if not wanted:
                    break
    except _BROKEN as error:
        raise UserError(
            f"{path}: cannot be read to its end as a zip or tar ({one_line(error)}); the file is "
            "truncated or of another kind; download it again"
        ) from error
    if not found:
        raise UserError(f"{path}: has no folder {FOLDER}; give an archive of ICT-FaceKit")


def _folder_members(path: Path) -> Iterator[tuple[str, bytes]]:
    candidates = [path, path / FOLDER, *sorted(path.glob(f"*/{FOLDER}"))]
    folder = next((f for f in candidates if f.name == FOLDER and f.is_dir()), None)
    if folder is None:
        raise UserError(f"{path}: has no folder {FOLDER}; give the folder of ICT-FaceKit")
    for name in parts.wanted_files():
        try:
            yield name, read_regular(folder / name, LARGEST_MEMBER)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise UserError(
                f"{folder / name}: cannot be read ({error.strerror}); give an unchanged copy of "
                "ICT-FaceKit"
            ) from error


Members = Iterator[tuple[str, Callable[[], bytes]]]


def _zip_members(handle: BinaryIO) -> Members:
    with zipfile.ZipFile(handle) as archive:
        room = UnpackBudget(zip_size(archive))
        for info in archive.infolist():
            name = PurePosixPath(info.filename)
            if not info.is_dir() and name.parent.name == FOLDER:
                _check_size(str(name), info.file_size)
                yield name.name, lambda info=info: bytes(read_member(archive, info, room))


def _tar_members(handle: BinaryIO) -> Members:
    for member in tar_members(handle):
        if member.name.parent.name == FOLDER:
            _check_size(str(member.name), member.size)
            yield member.name.name, member.read


def _check_size(name: str, size: int) -> None:
    if size > LARGEST_MEMBER:
        raise ValueError(f"{name} has {size} bytes, too many for ICT-FaceKit's files")
