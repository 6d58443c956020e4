"""Atomic writing of files and folders, and reading and writing of JSON, `.npz` and `.npy`."""

import json
import os
import re
import shutil
import stat
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from headsplat.runtime.checksum import (
    json_text,
    json_value,
    npy_bytes,
    npy_content,
    require_members,
)
from headsplat.runtime.errors import UserError, one_line
from headsplat.runtime.heartbeat import beat
from headsplat.runtime.npz import Npz, array_of
from headsplat.runtime.regular import read_regular
from headsplat.runtime.storage import AGAIN, DamagedFile, storage_error, unreadable
from headsplat.runtime.zips import BROKEN

SYNCS = 32  # files of a folder that are synced in parallel
_LARGEST_JSON = 256 << 20  # bytes; the import record of a hundred thousand images has 20 MB
_LARGEST_NPY = 1 << 30  # bytes


def _temporary(path: Path) -> Path:
    # The suffix stays last, because some writers choose the file format by it.
    return path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _remove_leftovers(path: Path) -> None:
    """Remove temporary files that earlier writers of `path` left; the last writer wins.

    This does not check whether such a writer is alive, which is unknown for another machine. An
    abandoned job there must not publish over the job that replaced it.
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


def _require_replaceable(path: Path) -> None:
    """Raise `UserError` for a device or pipe, which root would replace by a file.

    A name with a NUL character is refused too, because C libraries cut it there.
    """
    if "\0" in str(path):
        raise UserError(f"{path}: is not the name of a file or folder; give another name")
    # A file renamed into /dev would be lost to the next program that expects a device there.
    special = path.parent == Path("/dev")
    with suppress(OSError, ValueError):
        mode = path.stat().st_mode
        special |= not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
    if special:
        raise UserError(f"{path}: is a device, pipe or socket; name a file to write")


def _make_folder(folder: Path, path: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError, FileNotFoundError) as error:  # the last in /proc
        raise UserError(f"{path}: {folder} is no folder; give another name") from error


@contextmanager
def _publishing(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path`, which is removed at the end if it still exists."""
    _require_replaceable(path)
    temporary = _temporary(path)
    try:
        _make_folder(path.parent, path)
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
    """Write a file atomically: yields a temporary sibling that is synced and renamed to `path`.

    On an exception the temporary file is removed, and `path` stays as it was.

    Raises:
        UserError: the disk is full, the folder cannot be written, or `path` is a folder, device or
            pipe.
    """
    path = Path(path)
    with _publishing(path) as temporary:
        yield temporary
        if path.is_dir():
            raise UserError(f"{path}: is a folder; remove it, or give another name")
        _sync(temporary)
        os.replace(temporary, path)


@contextmanager
def publish_folder(path: Path | str) -> Iterator[Path]:
    """As `publish`, for a folder; an existing folder of that name is replaced as a whole."""
    path = Path(path)
    with _publishing(path) as temporary:
        temporary.mkdir()
        yield temporary
        # In parallel, because a disk commits all waiting syncs together.
        with ThreadPoolExecutor(SYNCS) as pool:
            files = [file for file in temporary.rglob("*") if file.is_file()]
            for done, _ in enumerate(pool.map(_sync, files), 1):
                beat(f"syncing the files of {path}", done, len(files))
        if path.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)


def write_json(path: Path | str, value: Any) -> None:
    """Write JSON atomically; raises ValueError for NaN and infinity, which JSON does not have.

    A dictionary gets a checksum under the key `crc32`, which `read_json` checks and removes.
    """
    with publish(path) as temporary:
        temporary.write_text(json_text(value))


def write_plain_json(path: Path | str, value: Any) -> None:
    """As `write_json`, but without a checksum, for files of other tools."""
    with publish(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path | str, fix: str = AGAIN) -> Any:
    """Read a JSON file.

    Args:
        path: the file.
        fix: what to do about a damaged file, for the message.

    Raises:
        UserError: it is missing, damaged or not JSON.
    """
    try:
        return json_value(read_regular(path, _LARGEST_JSON))
    except (OSError, ValueError) as error:
        what = f"cannot be read as JSON ({one_line(error)})"
        raise unreadable(error, path, what, fix) from error


def write_npz(path: Path | str, **arrays: Any) -> None:
    """Write an uncompressed `.npz` atomically; raises TypeError for object arrays."""
    for key, value in arrays.items():
        if np.asarray(value).dtype == object:
            raise TypeError(f"{path}: array {key} has dtype object")
    # Equivalent to np.savez, which leaves its archive open when the disk is full.
    with publish(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for key, value in arrays.items():
            with archive.open(f"{key}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(value), allow_pickle=False)


def read_npz(
    path: Path | str, required: Sequence[str] = (), fix: str = AGAIN
) -> dict[str, np.ndarray]:
    """Read all arrays of an `.npz` without pickle.

    Args:
        path: the file.
        required: names of arrays that must be present.
        fix: what to do about a damaged file, for the message.

    Raises:
        UserError: it cannot be read, or lacks a required array.
    """
    try:
        with Npz(path) as archive:
            arrays = {key: archive.read(key) for key in archive.names}
        require_members(path, len(arrays))
    except BROKEN as error:
        what = f"cannot be read as .npz ({one_line(error)})"
        raise unreadable(error, path, what, fix) from error
    for key in required:
        if key not in arrays:
            raise DamagedFile(f"{path}: the array '{key}' is missing; {fix}")
    return arrays


def write_npy(path: Path | str, array: np.ndarray) -> None:
    """Write one array as `.npy` atomically, followed by a checksum that numpy does not read."""
    with publish(path) as temporary:
        temporary.write_bytes(npy_bytes(array))


def read_npy(path: Path | str) -> np.ndarray:
    """Read an `.npy` without pickle; checks the checksum of `write_npy` if there is one.

    Raises:
        UserError: it cannot be read, or its checksum does not match.
    """
    fix = AGAIN
    try:
        content, checked = npy_content(read_regular(path, _LARGEST_NPY))
        if not checked:
            fix = f"give a whole file; if the workflow made it, {AGAIN}"
        return array_of(content, Path(path).name)
    except BROKEN as error:
        what = f"cannot be read as .npy ({one_line(error)})"
        raise unreadable(error, path, what, fix) from error
