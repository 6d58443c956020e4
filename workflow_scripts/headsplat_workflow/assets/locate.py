"""Locate an asset: under one of its accepted names, or inside a zip from its site."""

import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from headsplat_workflow.assets.catalogue import CATALOGUE

from headsplat.runtime.errors import UserError, one_line, shown
from headsplat.runtime.regular import open_regular
from headsplat.runtime.zips import BROKEN, UnpackBudget, zip_size


def locate(key: str, folder: Path | str, named: str | None = None) -> Path | None:
    """Find the file of asset `key`.

    Args:
        key: of `CATALOGUE`.
        folder: where to search.
        named: path given in the configuration; if set, no other is tried.

    Returns:
        The file, or the zip that contains it; None if there is none.
    """
    if named is not None:
        return Path(named) if Path(named).exists() else None
    asset = CATALOGUE[key]
    for name in asset.names:
        if (Path(folder) / name).exists():
            return Path(folder) / name
    for name in asset.archives:
        archive = Path(folder) / name
        if archive.is_file() and _member(archive, asset.names) is not None:
            return archive
    return None


def expected(key: str, folder: Path | str, named: str | None = None) -> Path:
    """The path that a missing asset would have."""
    return Path(named) if named is not None else Path(folder) / CATALOGUE[key].names[0]


def _member(archive: Path, names: Sequence[str]) -> str | None:
    """The zip member with the first of `names` that the zip contains, or None."""
    try:
        with open_regular(archive) as handle, zipfile.ZipFile(handle) as opened:
            members = opened.namelist()
    except BROKEN:
        return None
    for name in names:
        for member in sorted(members, key=len):
            if PurePosixPath(member).name == name:
                return member
    return None


@contextmanager
def unpacked(path: Path, key: str) -> Iterator[Path]:
    """Context manager that yields the file of asset `key`, extracted from its zip if necessary.

    Args:
        path: the file, or one of the asset's zips.
        key: of `CATALOGUE`.

    Raises:
        UserError: the zip does not contain the file, or is damaged.
    """
    asset = CATALOGUE[key]
    if path.name not in asset.archives:
        yield path
        return
    member = _member(path, asset.names)
    if member is None:
        raise UserError(
            f"{path}: holds none of {', '.join(asset.names)}; download it again from {asset.page}"
        )
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / PurePosixPath(member).name
        try:
            with (
                zipfile.ZipFile(path) as archive,
                archive.open(member) as source,
                open(out, "wb") as target,
            ):
                UnpackBudget(zip_size(archive)).take(archive.getinfo(member))
                shutil.copyfileobj(source, target)
        except BROKEN as error:
            raise UserError(
                f"{path}: '{shown(member)}' cannot be unpacked ({one_line(error)}); "
                "download it again"
            ) from error
        yield out
