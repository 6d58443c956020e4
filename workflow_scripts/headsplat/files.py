"""Publishing and reading of the files that stages exchange: a reader sees a whole file or none."""

import json
import os
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from headsplat.errors import UserError, one_line
from headsplat.heartbeat import beat
from headsplat.npz import DAMAGE, Npz
from headsplat.regular import read_regular
from headsplat.storage import storage_error

SYNCS = 32  # files of a folder that are synced at once
_LARGEST_JSON = 256 << 20  # bytes; an import's record of a hundred thousand images has 20 MB
AGAIN = "delete it, and the same command makes it again"


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
    """Publish `value` as JSON; NaN and infinities are refused, because JSON has none."""
    with publish(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path | str) -> Any:
    """Read a JSON file; a missing or broken one is a `UserError` that names it."""
    try:
        return json.loads(read_regular(path, _LARGEST_JSON))
    except (OSError, ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else one_line(error)
        raise UserError(f"{path}: cannot be read as JSON ({reason}); {AGAIN}") from error


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


def read_npz(path: Path | str, required: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Read all arrays of an `.npz` without pickle; a missing key is a `UserError`."""
    try:
        with Npz(path) as archive:
            arrays = {key: archive.read(key) for key in archive.names}
    except DAMAGE as error:
        raise UserError(f"{path}: cannot be read as .npz ({one_line(error)}); {AGAIN}") from error
    for key in required:
        if key not in arrays:
            raise UserError(f"{path}: the array '{key}' is missing; {AGAIN}")
    return arrays


class FrameZipWriter:
    """One packed file of a chunk: an uncompressed zip of `<id:05d><role><suffix>` members.

    Members carry a fixed date, so that equal pictures give equal bytes. Use inside `publish`::

        with publish(out) as temporary, FrameZipWriter(temporary, ".png") as pack:
            pack.add(frame_id, data, role="_mouth")
    """

    def __init__(self, path: Path, suffix: str) -> None:
        self._zip = zipfile.ZipFile(path, "w", zipfile.ZIP_STORED)
        self._suffix = suffix

    def add(self, frame_id: int, data: bytes, role: str = "") -> None:
        """Append the encoded picture of `frame_id`; `role` is "" or e.g. "_neckhead"."""
        info = zipfile.ZipInfo(f"{frame_id:05d}{role}{self._suffix}")
        self._zip.writestr(info, data)

    def __enter__(self) -> "FrameZipWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()


class FrameStore:
    """Random access to the pictures of several chunk zips, by frame id and role."""

    def __init__(self, paths: Sequence[Path | str]) -> None:
        self._zips: list[zipfile.ZipFile] = []
        self._where: dict[tuple[int, str], tuple[zipfile.ZipFile, str]] = {}
        for path in paths:
            try:
                archive = zipfile.ZipFile(path)
            except (OSError, zipfile.BadZipFile) as error:
                raise UserError(f"{path}: not a readable zip ({error}); {AGAIN}") from error
            self._zips.append(archive)
            for name in archive.namelist():
                stem = name.rsplit(".", 1)[0]
                self._where[int(stem[:5]), stem[5:]] = (archive, name)
        self.ids = sorted({frame_id for frame_id, _ in self._where})

    def read(self, frame_id: int, role: str = "") -> bytes:
        """Encoded bytes of one picture; a missing id or damaged bytes are a `UserError`."""
        if (frame_id, role) not in self._where:
            raise UserError(
                f"frame {frame_id}{role} is in none of {self.names()}; delete them, "
                "and the same command makes them again"
            )
        archive, name = self._where[frame_id, role]
        try:
            return archive.read(name)
        except (OSError, zipfile.BadZipFile, EOFError) as error:
            raise UserError(f"{archive.filename}: damaged at {name} ({error}); {AGAIN}") from error

    def names(self) -> str:
        """The zips, for messages."""
        files = [str(z.filename) for z in self._zips]
        return ", ".join(files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")

    def close(self) -> None:
        """Close all archives."""
        for archive in self._zips:
            archive.close()

    def __enter__(self) -> "FrameStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


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
