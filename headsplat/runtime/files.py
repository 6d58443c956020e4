"""Publishing and reading of the files that stages exchange: a reader sees a whole file or none."""

import json
import os
import re
import shutil
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

SYNCS = 32  # files of a folder that are synced at once
_LARGEST_JSON = 256 << 20  # bytes; an import's record of a hundred thousand images has 20 MB
_LARGEST_NPY = 1 << 30  # bytes


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
    except BROKEN as error:
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
    except BROKEN as error:
        what = f"cannot be read as .npy ({one_line(error)})"
        raise unreadable(error, path, what, cure) from error
