"""Files of `torch.save`, read without torch's unpickler: the zip, and the form before torch 1.6.

A zip holds `data.pkl`, and the bytes of each storage as a member. The older form is a row of
pickles (a magic number, a version, facts of the machine, the value, the storages' keys), and then
the storages.
"""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headsplat.runtime.errors import shown
from headsplat.runtime.pickles.machine import Finder
from headsplat.runtime.pickles.names import plain_name
from headsplat.runtime.pickles.nodes import Inert, PickleError
from headsplat.runtime.pickles.opcodes import PickleMachine
from headsplat.runtime.pickles.tensors import Storage, TensorNames, TensorReference, storage_of
from headsplat.runtime.regular import open_regular, read_regular
from headsplat.runtime.zips import BROKEN, ZipRoom, read_member, size_of

Make = Callable[[TensorReference], Any]
_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001
# The older form is read whole; the largest file of use has half a GiB.
_LARGEST = 2 << 30


class TorchZip:
    """An open zip of `torch.save`.

    Raises:
        OSError: it cannot be opened.
        PickleError: it is none.
    """

    def __init__(self, path: Path | str) -> None:
        self._file = open_regular(path)
        self._storages: dict[str, Storage] = {}
        try:
            self._zip = zipfile.ZipFile(self._file)
            self._size = size_of(self._zip)
            self._room = ZipRoom(self._size)
            pickled = [n for n in self._zip.namelist() if n.endswith("/data.pkl")]
            if len(pickled) != 1:
                raise PickleError(f"it has {len(pickled)} members named data.pkl")
            self._root = pickled[0].removesuffix("data.pkl")
            self._pickle = bytes(self._member("data.pkl"))
            order = f"{self._root}byteorder"
            if order in self._zip.namelist() and self._member("byteorder") != b"little":
                raise PickleError("its numbers are of the other byte order")
        except BaseException as error:
            self._file.close()
            if isinstance(error, BROKEN):
                raise _damaged(error) from error
            raise

    def load(self, make: Make, others: Finder = plain_name, inert: bool = False) -> Any:
        """What was saved, with `make` of every tensor; `others` and `inert` as in `Machine`."""
        names = TensorNames(self._size, make, others=others)
        storage = self._storage_or_inert if inert else self._storage
        return PickleMachine(self._pickle, names.find, persistent=storage, inert=inert).run()

    def _storage(self, identity: Any) -> Storage:
        storage = storage_of(identity, self._bytes)
        known = self._storages.setdefault(storage.key, storage)
        if (known.dtype, known.numbers) != (storage.dtype, storage.numbers):
            raise PickleError(f"the storage '{shown(storage.key)}' has two lengths")
        return known

    def _storage_or_inert(self, identity: Any) -> Storage | Inert:
        try:
            return self._storage(identity)
        except PickleError:
            return Inert()

    def _bytes(self, key: str, size: int) -> bytearray:
        data = self._member(f"data/{key}")
        if len(data) != size:
            raise PickleError(f"tensor bytes '{shown(key)}' are not {size} bytes")
        return data

    def _member(self, name: str) -> bytearray:
        try:
            return read_member(self._zip, self._zip.getinfo(self._root + name), self._room)
        except BROKEN as error:
            raise _damaged(error) from error

    def close(self) -> None:
        """Close the file."""
        self._zip.close()
        self._file.close()

    def __enter__(self) -> "TorchZip":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _damaged(error: BaseException) -> PickleError:
    if isinstance(error, PickleError):
        return error
    return PickleError(shown(f"{type(error).__name__}: {error}", 100))


def read_torch(path: Path | str) -> Any:
    """What a file of `torch.save` holds, of either form, with its tensors on the CPU.

    Raises:
        OSError: it cannot be opened.
        PickleError: damaged, or no such file; nothing that it names is run.
    """
    with open_regular(path) as handle:
        zipped = handle.read(4) == b"PK\x03\x04"
    if not zipped:
        return read_older(read_regular(path, _LARGEST), TensorReference.tensor)
    with TorchZip(path) as archive:
        return archive.load(TensorReference.tensor)


def read_older(data: bytes, make: Make) -> Any:
    """As `read_torch`, from the bytes of a file in the older form; it may be a storage alone.

    Raises:
        PickleError: damaged, or no such file.
    """
    names = TensorNames(len(data), make)
    held = _Held(len(data))
    at, values = 0, []
    for persistent in (None, None, None, held.storage, None):
        machine = PickleMachine(data, names.find, at, persistent)
        values.append(machine.run())
        at = machine.at
        # Not compared as they are: arrays compare number by number.
        start = [value for value in values[:2] if type(value) is int]
        if start != [_MAGIC, _VERSION][: len(values)]:
            raise PickleError("it is no file of torch.save")
    if type(values[2]) is not dict or values[2].get("little_endian") is False:
        raise PickleError("its numbers are of the other byte order")
    held.fill(data, at, values[4])
    return values[3]


class _Held:
    """The storages of the older form: made as they are named, filled at the end.

    Args:
        size: of the file, which bounds them.
    """

    def __init__(self, size: int) -> None:
        self._left = size
        self._kept: dict[str, tuple[Storage, bytearray]] = {}

    def storage(self, identity: Any) -> Storage:
        if type(identity) is tuple and identity[5:6] not in ((), (None,)):
            raise PickleError("a storage that is a part of another")
        storage = storage_of(identity, lambda key, _: self._kept[key][1])
        known = self._kept.get(storage.key)
        if known is None:
            size = storage.numbers * storage.dtype.itemsize
            self._left -= size
            if self._left < 0:
                raise PickleError("its storages are larger than the file")
            self._kept[storage.key] = known = (storage, bytearray(size))
        if (known[0].dtype, known[0].numbers) != (storage.dtype, storage.numbers):
            raise PickleError(f"the storage '{shown(storage.key)}' has two lengths")
        return known[0]

    def fill(self, data: bytes, at: int, keys: Any) -> None:
        if type(keys) is not list or sorted(map(str, keys)) != sorted(self._kept):
            raise PickleError("it lists other storages than it uses")
        for key in keys:
            storage, room = self._kept[key]
            start, end = at + 8, at + 8 + len(room)
            if int.from_bytes(data[at:start], "little") != storage.numbers or end > len(data):
                raise PickleError(f"tensor bytes '{shown(key)}' are cut short")
            room[:] = memoryview(data)[start:end]
            at = end
