"""Reading of ICT-FaceKit's `FaceXModel/` from a folder, a zip or a tar, without unpacking it."""

import hashlib
import json
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from headsplat.errors import UserError
from headsplat.heads.ict import parts
from headsplat.heads.ict.obj import face_block, parse_faces, parse_rows

FOLDER = "FaceXModel"
# The largest genuine member has 3 MB; a member of an archive that claims more is not ICT's.
LARGEST_MEMBER = 64 << 20
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError, OSError)


@dataclass(frozen=True)
class FaceXModel:
    """ICT-FaceKit as its files have it: ICT's units and numbering.

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
    """Takes files in whatever order an archive has them, and keeps only what is needed."""

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
        except ValueError as error:
            raise self._error(name, f"cannot be read: {error}") from error
        self.missing.discard(name)

    def _add_obj(self, name: str, data: bytes) -> None:
        points = parse_rows(data, b"v", 3)
        if len(points) != parts.VERTICES:
            what = f"has another topology: {len(points)} vertices, expected {parts.VERTICES}"
            raise self._error(name, what)
        block = face_block(data)
        digest = hashlib.sha256(block).hexdigest()
        if digest not in self.faces:
            self.faces[digest] = parse_faces(block)
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
        if len(polygons) != parts.POLYGONS:
            what = f"has another topology: {len(polygons)} faces, expected {parts.POLYGONS}"
            raise self._error(parts.NEUTRAL, what)
        if polygons.max() >= parts.VERTICES or texture_polygons.max() >= len(self.texture):
            raise self._error(parts.NEUTRAL, "has faces that number vertices it does not have")

    def _error(self, name: str, what: str) -> UserError:
        return UserError(
            f"{self.path}: {FOLDER}/{name} {what}; give an unchanged copy of ICT-FaceKit "
            "(folder, zip or tar)"
        )


def _landmarks(data: bytes) -> np.ndarray:
    ids = np.asarray(json.loads(data).get("idx_to_landmark_verts"))
    if ids.shape != (68,) or ids.dtype.kind != "i" or ids.min() < 0 or ids.max() > 9408:
        raise ValueError("'idx_to_landmark_verts' is not a list of 68 vertices of the face")
    return ids.astype(np.int32)


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield (file name, content) of the wanted files of the `FaceXModel` folder, each once."""
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; give ICT-FaceKit's folder, zip or tar")
    if path.is_dir():
        yield from _folder_members(path)
        return
    wanted, found = set(parts.wanted_files()), False
    try:
        for name, data in _zip_members(path) if zipfile.is_zipfile(path) else _tar_members(path):
            found = True
            if name in wanted:
                wanted.discard(name)
                yield name, data()
    except _BROKEN as error:
        raise UserError(
            f"{path}: cannot be read to its end as a zip or tar ({error}); the file is truncated "
            "or of another kind, fetch it again"
        ) from error
    if not found:
        raise UserError(f"{path}: has no folder {FOLDER}; give an archive of ICT-FaceKit")


def _folder_members(path: Path) -> Iterator[tuple[str, bytes]]:
    candidates = [path, path / FOLDER, *sorted(path.glob(f"*/{FOLDER}"))]
    folder = next((f for f in candidates if f.name == FOLDER and f.is_dir()), None)
    if folder is None:
        raise UserError(f"{path}: has no folder {FOLDER}; give the folder of ICT-FaceKit")
    for name in parts.wanted_files():
        if (folder / name).is_file():
            yield name, (folder / name).read_bytes()


def _zip_members(path: Path):
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            name = PurePosixPath(info.filename)
            if not info.is_dir() and name.parent.name == FOLDER:
                _check_size(path, str(name), info.file_size)
                yield name.name, lambda info=info: archive.read(info)


def _tar_members(path: Path):
    # A stream reads a compressed tar once, in its own order, and never seeks back.
    with tarfile.open(path, "r|*") as archive:
        for info in archive:
            name = PurePosixPath(info.name)
            if info.isfile() and name.parent.name == FOLDER:
                _check_size(path, str(name), info.size)
                yield name.name, lambda info=info: archive.extractfile(info).read()


def _check_size(path: Path, name: str, size: int) -> None:
    if size > LARGEST_MEMBER:
        raise UserError(f"{path}: {name} has {size} bytes, too many for ICT-FaceKit's files")
