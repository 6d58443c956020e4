"""Frame zips: writer and random access reader of encoded images, by frame id and role."""

import re
import zipfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock

from headsplat.frames.ids import frame_number
from headsplat.runtime.checksum import zip_comment
from headsplat.runtime.errors import UserError, one_line
from headsplat.runtime.regular import open_regular
from headsplat.runtime.storage import AGAIN, unreadable
from headsplat.runtime.zips import BROKEN

OPEN = 64  # zips that a `FrameStore` keeps open
_MEMBER = re.compile(r"([0-9]{5,})((?:_[a-z]+)?)\.[a-z]+")


class FrameZipWriter:
    """Writer of an uncompressed zip with members `<id:05d><role><suffix>`.

    Members have a fixed date, so that equal images give equal bytes. The zip's comment is the
    checksum of the member list. Use inside `publish`::

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
    """Random access to the images of several frame zips, by frame id and role; thread-safe.

    At most `OPEN` zips are open at a time.

    Attributes:
        ids: ids of all frames, ascending.

    Raises:
        UserError: a zip cannot be read, or has other members than frames.
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
        """Index the members of a zip."""
        path = self._paths[chunk]
        archive = self._archive(chunk)
        if archive.comment not in (b"", zip_comment(archive.infolist())):
            raise UserError(f"{path}: not a readable zip (its list of members is damaged); {AGAIN}")
        for member in archive.infolist():
            key = _frame_of(member)
            if key is None:
                shown = repr(member.filename[:60])
                raise UserError(f"{path}: holds {shown}, which is not an image of a frame; {AGAIN}")
            if key in self._where:
                other = self._paths[self._where[key][0]]
                raise UserError(
                    f"{path}: holds frame {key[0]}{key[1]}, which {other} holds too; delete them, "
                    "and the same command makes them again"
                )
            self._where[key] = (chunk, member.filename)

    def _archive(self, chunk: int) -> zipfile.ZipFile:
        """The open zip of a chunk; closes the least recently used one if too many are open."""
        if chunk not in self._open:
            while len(self._open) >= OPEN:
                self._open.popitem(last=False)[1].close()
            path = self._paths[chunk]
            try:
                open_regular(path).close()  # raises for a pipe, on which ZipFile would block
                self._open[chunk] = zipfile.ZipFile(path)
            except BROKEN as error:
                raise unreadable(error, path, f"not a readable zip ({one_line(error)})") from error
        self._open.move_to_end(chunk)
        return self._open[chunk]

    def __contains__(self, key: tuple[int, str]) -> bool:
        """Whether there is an image of a frame id and a role."""
        return key in self._where

    def read(self, frame_id: int, role: str = "") -> bytes:
        """Encoded bytes of one image; raises `UserError` if it is missing or damaged."""
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
            except BROKEN as error:
                what = f"damaged at {name} ({one_line(error)})"
                raise unreadable(error, self._paths[chunk], what) from error

    def names(self) -> str:
        """Names of the zips, for messages."""
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
    """Frame id and role of a member, or None if it is not the image of a frame."""
    name = _MEMBER.fullmatch(member.filename)
    if name is None or member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
        return None
    frame_id = frame_number(name[1])
    return None if frame_id is None or name[1] != f"{frame_id:05d}" else (frame_id, name[2])


def require_same_ids(parts: Mapping[str, Sequence[int]]) -> list[int]:
    """Check that all parts have the same frame ids, and return the ids in ascending order.

    Args:
        parts: name of the part (for the message) -> its frame ids.

    Raises:
        UserError: a part lacks an id that another one has.
    """
    sets = {name: {int(i) for i in ids} for name, ids in parts.items()}
    everything = set().union(*sets.values())
    for name, ids in sets.items():
        missing = sorted(everything - ids)
        if missing:
            shown = ", ".join(map(str, missing[:10])) + (" ..." if len(missing) > 10 else "")
            raise UserError(f"{name}: {len(missing)} frame ids without a partner: {shown}")
    return sorted(everything)
