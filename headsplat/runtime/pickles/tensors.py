"""torch's tensors in pickles: their storages, the views of them, and the names that make them."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from headsplat.runtime.errors import shown
from headsplat.runtime.pickles.machine import Finder
from headsplat.runtime.pickles.names import plain_name
from headsplat.runtime.pickles.nodes import Inert, Name, PickleError

_STORAGES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}  # fmt: skip
_MOST_AXES = 32
# Tensors may together have so many times the bytes of their file: they may share storages.
_TIMES = 4


class Storage:
    """The numbers that tensors of a file are views of.

    Args:
        key: its name in the file.
        dtype: of its numbers.
        numbers: how many it has.
        fetch: gives its bytes when they are needed; more than the numbers is ignored.
    """

    def __init__(
        self, key: str, dtype: torch.dtype, numbers: int, fetch: Callable[[], bytearray]
    ) -> None:
        self.key, self.dtype, self.numbers = key, dtype, numbers
        self._fetch = fetch
        self._flat: Tensor | None = None

    def flat(self) -> Tensor:
        """All numbers, as one axis; who asks again gets the same memory."""
        if self._flat is None:
            data = self._fetch() if self.numbers else bytearray()
            if len(data) < self.numbers * self.dtype.itemsize:
                raise PickleError(f"tensor bytes '{shown(self.key)}' are cut short")
            self._flat = (
                torch.frombuffer(data, dtype=self.dtype, count=self.numbers)
                if self.numbers
                else torch.empty(0, dtype=self.dtype)
            )
        return self._flat


@dataclass(frozen=True, eq=False)
class TensorReference:
    """A tensor that is not made yet: the view of a storage, `offset` and `stride` in numbers."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    gradient: bool

    @property
    def key(self) -> str:
        """The storage's name."""
        return self.storage.key

    def tensor(self) -> Tensor:
        """The tensor on the CPU; those of one storage share its memory."""
        flat = self.storage.flat()
        made = torch.as_strided(flat, self.shape, self.stride, self.offset)
        return made.requires_grad_() if self.gradient else made


def storage_of(identity: Any, fetch: Callable[[str, int], bytearray]) -> Storage:
    """The storage of a persistent id: "storage", its class, its key, a place and its length.

    Args:
        identity: the id.
        fetch: gives the bytes of a key, of which there must be so many.
    """
    if type(identity) is not tuple or len(identity) not in (5, 6) or identity[0] != "storage":
        raise PickleError("it refers to what is no storage")
    _, kind, key, _, numbers = identity[:5]
    if type(kind) is not Name or kind.module != "torch" or kind.name not in _STORAGES:
        raise PickleError("a storage of an unknown kind")
    if type(key) is not str or type(numbers) is not int or numbers < 0:
        raise PickleError("a storage without a name or length")
    dtype = _STORAGES[kind.name]
    return Storage(key, dtype, numbers, lambda: fetch(key, numbers * dtype.itemsize))


class TensorNames:
    """The names in torch's files, and numpy's and Python's beside them.

    Args:
        size: of the file in bytes, which bounds what tensors may take.
        make: what stands for a tensor in the value that is read.
        blob: reads a storage that is pickled as a file of torch within bytes, where there may be.
        others: names beside torch's.
    """

    def __init__(
        self,
        size: int,
        make: Callable[[TensorReference], Any],
        blob: Callable[[Any], Storage] | None = None,
        others: Finder = plain_name,
    ) -> None:
        self._left = _TIMES * size
        self._make, self._others = make, others
        calls: dict[tuple[str, str], Callable[..., Any]] = {
            ("torch._utils", "_rebuild_tensor"): self._tensor,
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
            ("torch._utils", "_rebuild_parameter"): _parameter,
        }
        if blob is not None:
            calls["torch.storage", "_load_from_bytes"] = blob
        self._names = {key: Name(*key, call) for key, call in calls.items()}
        self._names |= {("torch", name): Name("torch", name) for name in _STORAGES}

    def find(self, module: str, name: str) -> Name | None:
        """The name, or None."""
        return self._names.get((module, name)) or self._others(module, name)

    def _tensor(
        self, storage: Any, offset: Any, shape: Any, stride: Any, gradient: Any = False, *_: Any
    ) -> Any:
        if type(storage) is Inert:
            return storage
        if type(storage) is not Storage or type(shape) is not tuple or type(stride) is not tuple:
            raise PickleError("a tensor without a storage or shape")
        if len(shape) != len(stride) or len(shape) > _MOST_AXES:
            raise PickleError("a tensor without a storage or shape")
        counts = (offset, *shape, *stride)
        if any(type(n) is not int or not 0 <= n < 1 << 40 for n in counts):
            raise PickleError("a tensor without a storage or shape")
        numbers = math.prod(shape)
        last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
        if numbers and last >= storage.numbers:
            raise PickleError(
                f"a tensor of shape {shown(str(list(shape)))} reaches beyond its storage"
            )
        self._left -= numbers * storage.dtype.itemsize
        if self._left < 0:
            raise PickleError("its tensors repeat their numbers to many times the file's size")
        gradient = _gradient(gradient, storage.dtype)
        if not numbers:
            # Nothing of the storage is read, whatever offset and strides are.
            offset, stride = 0, (0,) * len(shape)
        return self._make(TensorReference(storage, offset, shape, stride, gradient))


def _gradient(wanted: Any, dtype: torch.dtype) -> bool:
    if type(wanted) is not bool or (wanted and not dtype.is_floating_point):
        raise PickleError("a tensor of whole numbers has a gradient")
    return wanted


def _parameter(data: Any, gradient: Any = True, *_: Any) -> Any:
    """A `torch.nn.Parameter` of a tensor; what else stands for tensors stays itself."""
    if type(data) is Tensor:
        return nn.Parameter(data, requires_grad=_gradient(gradient, data.dtype))
    if type(data) not in (TensorReference, np.ndarray, Inert):
        raise PickleError("a parameter without its tensor")
    return data
