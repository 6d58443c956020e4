"""Parts of a `torch.save` archive, read without running, or even reading, the rest of it.

Training checkpoints carry optimisers, counters and embedded models beside the weights that are
wanted. Here the pickle is walked with every class but tensors made inert, tensors stay references
into the archive, and only the bytes of those that are asked for are read.
"""

import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from headsplat.errors import UserError

_STORAGES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}  # fmt: skip


class Inert:
    """Stands for an object of a class that is not wanted; nothing of it is run or kept."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __call__(self, *_: Any, **__: Any) -> "Inert":
        """Called as a constructor or method, it stays itself."""
        return self

    def __setstate__(self, _: Any) -> None:
        pass

    def __setitem__(self, _: Any, __: Any) -> None:
        pass

    def append(self, _: Any) -> None:
        """Take and forget an element, as a pickled list subclass gets them."""

    def extend(self, _: Any) -> None:
        """Take and forget elements."""


@dataclass(frozen=True)
class TensorReference:
    """Where a tensor lies: storage `key` of the archive, `offset` and `stride` in elements."""

    key: str
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def _rebuild(
    storage: Any, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> Any:
    if not isinstance(storage, tuple):
        return Inert()
    return TensorReference(storage[0], storage[1], offset, tuple(shape), tuple(stride))


_ALLOWED = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
    ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
    **{("torch", name): dtype for name, dtype in _STORAGES.items()},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return _ALLOWED.get((module, name), Inert)

    def persistent_load(self, identity: Any) -> Any:
        kind, dtype, key, *_ = identity
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            return None
        return str(key), dtype


class TorchArchive:
    """A zip archive of `torch.save` (torch 1.6 and later): names and shapes now, bytes on demand.

    Attributes:
        content: what was saved, with `TensorReference` for tensors and `Inert` for other classes.

    Raises:
        UserError: the file is not such an archive, or is truncated.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = path
        try:
            self._zip = zipfile.ZipFile(path)
            pickled = [n for n in self._zip.namelist() if n.endswith("/data.pkl")]
            if len(pickled) != 1:
                raise ValueError(f"it has {len(pickled)} members named data.pkl")
            self._root = pickled[0].removesuffix("data.pkl")
            with self._zip.open(pickled[0]) as handle:
                self.content = _Unpickler(handle, encoding="utf-8").load()
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error}); check the path") from error
        except Exception as error:
            # A broken archive or pickle can raise nearly anything.
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise UserError(
                f"{path}: not a whole torch archive ({reason}); download it again"
            ) from error

    def table(self, *keys: str) -> dict[str, TensorReference]:
        """The table of tensors under nested `keys`; other entries of it are left out.

        Raises:
            UserError: a key is missing.
        """
        node: Any = self.content
        for depth, key in enumerate(keys):
            if not isinstance(node, Mapping) or key not in node:
                missing = ".".join(keys[: depth + 1])
                raise UserError(f"{self._path}: the key '{missing}' is missing; give the original")
            node = node[key]
        if not isinstance(node, Mapping):
            raise UserError(f"{self._path}: '{'.'.join(keys)}' is no table of tensors")
        return {str(k): v for k, v in node.items() if isinstance(v, TensorReference)}

    def read(self, reference: TensorReference) -> Tensor:
        """The tensor itself, as a copy on the CPU.

        Raises:
            UserError: its bytes are missing or too few.
        """
        try:
            data = bytearray(self._zip.read(f"{self._root}data/{reference.key}"))
            flat = torch.frombuffer(data, dtype=reference.dtype)
            return torch.as_strided(
                flat, reference.shape, reference.stride, reference.offset
            ).clone()
        except (KeyError, OSError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
            if math.prod(reference.shape) == 0:
                return torch.empty(reference.shape, dtype=reference.dtype)
            raise UserError(
                f"{self._path}: tensor bytes '{reference.key}' cannot be read ({error}); "
                "download it again"
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._zip.close()

    def __enter__(self) -> "TorchArchive":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
