"""Where an asset lies: under one of its names, or inside a zip as its site serves it."""

import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from headsplat_workflow.assets.catalogue import CATALOGUE

from headsplat.runtime.errors import UserError, one_line, shown
from headsplat.runtime.regular import open_regular
from headsplat.runtime.zips import BROKEN, ZipRoom, size_of


def locate(key: str, folder: Path | str, named: str | None = None) -> Path | None:
    """The file of asset `key`.

    Args:
        key: of `CATALOGUE`.
        folder: where to look.
        named: the path that the configuration names; then no other is looked for.

    Returns:
        The file, or the zip that holds it; None where there is none.
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
    """Where the file would lie if it were there."""
    return Path(named) if named is not None else Path(folder) / CATALOGUE[key].names[0]


def _member(archive: Path, names: Sequence[str]) -> str | None:
    """The member of a zip that bears the first of `names` that is in it."""
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
    """The file of asset `key` itself, for as long as the context lasts.

    Args:
        path: the file, or one of the asset's zips.
        key: of `CATALOGUE`.

    Raises:
        UserError: the zip does not hold the file, or is broken.
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
                ZipRoom(size_of(archive)).take(archive.getinfo(member))
                shutil.copyfileobj(source, target)
        except BROKEN as error:
            raise UserError(
                f"{path}: '{shown(member)}' cannot be unpacked ({one_line(error)}); "
                "download it again"
            ) from error
        yield out
