"""Publishing and reading of the files that stages exchange: a reader sees a whole file or none."""

import json
import os
import re
import shutil
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from headsplat.checksum import (
    json_text,
    json_value,
    npy_bytes,
    npy_content,
    require_members,
    zip_comment,
)
from headsplat.errors import UserError, one_line
from headsplat.frame_ids import frame_number
from headsplat.heartbeat import beat
from headsplat.npz import DAMAGE, Npz, array_of
from headsplat.regular import open_regular, read_regular
from headsplat.storage import AGAIN, DamagedFile, storage_error, unreadable

SYNCS = 32  # files of a folder that are synced at once
OPEN = 64  # chunks that a `FrameStore` holds open
_LARGEST_JSON = 256 << 20  # bytes; an import's record of a hundred thousand images has 20 MB
_LARGEST_NPY = 1 << 30  # bytes
_MEMBER = re.compile(r"([0-9]{5,})((?:_[a-z]+)?)\.[a-z]+")


def _temporary(path: Path) -> Path:
    # The suffix stays last, because some writers choose the container by it.
    return path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _remove_leftovers(path: Path) -> None:
    """Remove what killed writers of `path` left; who starts last is its writer.

    No matter whether such a process still lives: on another machine that cannot be seen, and a
    job that was given up there must not publish over the one that took its place.
    """
    pattern = re.compile(rf"\.{re.escape(path.stem)}\.\d+\.tmp{re.escape(path.suffix)}")
    for sibling in path.parent.iterdir():
        if pattern.fullmatch(sibling.name):
            _remove(sibling)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _publishing(path: Path) -> Iterator[Path]:
    """Yield the temporary sibling of `path`, and leave none, whatever happens."""
    temporary = _temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        yield temporary
    except UserError:
        raise
    except Exception as error:
        refused = storage_error(error, path)
        if refused is None:
            raise
        raise refused from error
    finally:
        with suppress(OSError):
            _remove(temporary)


@contextmanager
def publish(path: Path | str) -> Iterator[Path]:
    """Yield a temporary sibling of `path`; on success it is synced and renamed to `path`.

    On an exception the temporary file is removed and nothing appears under the final name.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    path = Path(path)
    with _publishing(path) as temporary:
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)


@contextmanager
def publish_folder(path: Path | str) -> Iterator[Path]:
    """As `publish`, for a folder: an existing folder of that name is replaced as a whole."""
    path = Path(path)
    with _publishing(path) as temporary:
        temporary.mkdir()
        yield temporary
        # Side by side, because a disk commits what waits together at once.
        with ThreadPoolExecutor(SYNCS) as pool:
            files = [file for file in temporary.rglob("*") if file.is_file()]
            for done, _ in enumerate(pool.map(_sync, files), 1):
                beat(f"syncing the files of {path}", done, len(files))
        if path.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)


def write_json(path: Path | str, value: Any) -> None:
    """Publish `value` as JSON; NaN and infinities are refused, because JSON has none.

    A dictionary gets a checksum under the key `crc32`, which `read_json` checks and drops.
    """
    with publish(path) as temporary:
        temporary.write_text(json_text(value))


def write_plain_json(path: Path | str, value: Any) -> None:
    """As `write_json` without a checksum, for files in another tool's layout."""
    with publish(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path | str, cure: str = AGAIN) -> Any:
    """Read a JSON file; a missing or broken one is a `UserError` that names it.

    Args:
        path: the file.
        cure: what mends a damaged one.
    """
    try:
        return json_value(read_regular(path, _LARGEST_JSON))
    except (OSError, ValueError) as error:
        what = f"cannot be read as JSON ({one_line(error)})"
        raise unreadable(error, path, what, cure) from error


def write_npz(path: Path | str, **arrays: Any) -> None:
    """Publish an uncompressed `.npz`; object arrays are refused, so it never needs pickle."""
    for key, value in arrays.items():
        if np.asarray(value).dtype == object:
            raise TypeError(f"{path}: array {key} has dtype object")
    # As np.savez, which leaves its archive open when the disk is full.
    with publish(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for key, value in arrays.items():
            with archive.open(f"{key}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(value), allow_pickle=False)


def read_npz(
    path: Path | str, required: Sequence[str] = (), cure: str = AGAIN
) -> dict[str, np.ndarray]:
    """Read all arrays of an `.npz` without pickle; a missing key is a `UserError`.

    Args:
        path: the file.
        required: keys that must be there.
        cure: what mends a damaged file.
    """
    try:
        with Npz(path) as archive:
            arrays = {key: archive.read(key) for key in archive.names}
        require_members(path, len(arrays))
    except DAMAGE as error:
        what = f"cannot be read as .npz ({one_line(error)})"
        raise unreadable(error, path, what, cure) from error
    for key in required:
        if key not in arrays:
            raise DamagedFile(f"{path}: the array '{key}' is missing; {cure}")
    return arrays


def write_npy(path: Path | str, array: np.ndarray) -> None:
    """Publish one array as `.npy`, with a checksum behind it that numpy does not read."""
    with publish(path) as temporary:
        temporary.write_bytes(npy_bytes(array))


def read_npy(path: Path | str) -> np.ndarray:
    """Read an `.npy`, with a checksum or as numpy writes it, without pickle.

    Raises:
        UserError: it cannot be read, or is not what was written.
    """
    cure = AGAIN
    try:
        content, checked = npy_content(read_regular(path, _LARGEST_NPY))
        if not checked:
            cure = f"give a whole file; if the workflow made it, {AGAIN}"
        return array_of(content, Path(path).name)
    except DAMAGE as error:
        what = f"cannot be read as .npy ({one_line(error)})"
        raise unreadable(error, path, what, cure) from error


class FrameZipWriter:
    """One packed file of a chunk: an uncompressed zip of `<id:05d><role><suffix>` members.

    Members carry a fixed date, so that equal images give equal bytes; the zip's comment is the
    checksum of their list. Use inside `publish`::

        with publish(out) as temporary, FrameZipWriter(temporary, ".png") as pack:
            pack.add(frame_id, data, role="_mouth")
    """

    def __init__(self, path: Path, suffix: str) -> None:
        self._zip = zipfile.ZipFile(path, "w", zipfile.ZIP_STORED)
        self._suffix = suffix

    def add(self, frame_id: int, data: bytes, role: str = "") -> None:
        """Append the encoded image of `frame_id`; `role` is "" or e.g. "_neckhead"."""
        info = zipfile.ZipInfo(f"{frame_id:05d}{role}{self._suffix}")
        self._zip.writestr(info, data)

    def __enter__(self) -> "FrameZipWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.comment = zip_comment(self._zip.infolist())
        self._zip.close()


class FrameStore:
    """Random access to the images of several chunk zips, by frame id and role.

    Any number of chunks will do, because only `OPEN` of them are open at a time. Threads may share
    a store.

    Attributes:
        ids: of all frames, ascending.

    Raises:
        UserError: a zip cannot be read, or holds what no stage packs.
    """

    def __init__(self, paths: Sequence[Path | str]) -> None:
        self._paths = list(paths)
        self._open: OrderedDict[int, zipfile.ZipFile] = OrderedDict()
        self._lock = Lock()
        self._where: dict[tuple[int, str], tuple[int, str]] = {}
        try:
            for chunk in range(len(self._paths)):
                self._list(chunk)
        except BaseException:
            self.close()
            raise
        self.ids = sorted({frame_id for frame_id, _ in self._where})

    def _list(self, chunk: int) -> None:
        """Note where the images of a chunk are."""
        path = self._paths[chunk]
        archive = self._archive(chunk)
        if archive.comment not in (b"", zip_comment(archive.infolist())):
            raise UserError(f"{path}: not a readable zip (its list of members is damaged); {AGAIN}")
        for member in archive.infolist():
            key = _frame_of(member)
            if key is None:
                shown = repr(member.filename[:60])
                raise UserError(f"{path}: holds {shown}, which is no image of a frame; {AGAIN}")
            if key in self._where:
                other = self._paths[self._where[key][0]]
                raise UserError(
                    f"{path}: holds frame {key[0]}{key[1]}, which {other} holds too; delete them, "
                    "and the same command makes them again"
                )
            self._where[key] = (chunk, member.filename)

    def _archive(self, chunk: int) -> zipfile.ZipFile:
        """The open zip of a chunk; the one that was not used for longest is closed for it."""
        if chunk not in self._open:
            while len(self._open) >= OPEN:
                self._open.popitem(last=False)[1].close()
            path = self._paths[chunk]
            try:
                open_regular(path).close()  # a pipe would block
                self._open[chunk] = zipfile.ZipFile(path)
            except DAMAGE as error:
                raise unreadable(error, path, f"not a readable zip ({one_line(error)})") from error
        self._open.move_to_end(chunk)
        return self._open[chunk]

    def read(self, frame_id: int, role: str = "") -> bytes:
        """Encoded bytes of one image; a missing id or damaged bytes are a `UserError`."""
        if (frame_id, role) not in self._where:
            raise UserError(
                f"frame {frame_id}{role} is in none of {self.names()}; delete them, "
                "and the same command makes them again"
            )
        chunk, name = self._where[frame_id, role]
        with self._lock:
            archive = self._archive(chunk)
            try:
                return archive.read(name)
            except DAMAGE as error:
                what = f"damaged at {name} ({one_line(error)})"
                raise unreadable(error, self._paths[chunk], what) from error

    def names(self) -> str:
        """The zips, for messages."""
        files = [str(path) for path in self._paths]
        return ", ".join(files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")

    def close(self) -> None:
        """Close all archives."""
        for archive in self._open.values():
            archive.close()
        self._open.clear()

    def __enter__(self) -> "FrameStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _frame_of(member: zipfile.ZipInfo) -> tuple[int, str] | None:
    """Id and role of the frame whose image a member is, None if it is no such image."""
    name = _MEMBER.fullmatch(member.filename)
    if name is None or member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
        return None
    frame_id = frame_number(name[1])
    return None if frame_id is None or name[1] != f"{frame_id:05d}" else (frame_id, name[2])


def require_same_ids(parts: Mapping[str, Sequence[int]]) -> list[int]:
    """Ids common to all named parts; an id that lacks a partner anywhere is a `UserError`.

    Args:
        parts: name of the part (for the message) -> its frame ids.
    """
    sets = {name: {int(i) for i in ids} for name, ids in parts.items()}
    everything = set().union(*sets.values())
    for name, ids in sets.items():
        missing = sorted(everything - ids)
        if missing:
            shown = ", ".join(map(str, missing[:10])) + (" ..." if len(missing) > 10 else "")
            raise UserError(f"{name}: {len(missing)} frame ids without a partner: {shown}")
    return sorted(everything)
