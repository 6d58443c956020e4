"""Allowed globals of torch files: tensor storages and the views into them."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from headsplat.runtime.errors import shown
from headsplat.runtime.pickles.interpreter import Finder
from headsplat.runtime.pickles.known_globals import plain_global
from headsplat.runtime.pickles.placeholders import Global, IgnoredObject, PickleError

_STORAGES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}  # fmt: skip
_MOST_AXES = 32
# Total size of all tensors over the file's size; above 1, because tensors may share a storage.
_TIMES = 4


class Storage:
    """A flat storage, of which tensors are views.

    Args:
        key: name of the storage in the file.
        dtype: type of its numbers.
        numbers: number of elements.
        fetch: returns the bytes on first use; surplus bytes are ignored.
    """

    def __init__(
        self, key: str, dtype: torch.dtype, numbers: int, fetch: Callable[[], bytearray]
    ) -> None:
        self.key, self.dtype, self.numbers = key, dtype, numbers
        self._fetch = fetch
        self._flat: Tensor | None = None

    def flat(self) -> Tensor:
        """All elements, (numbers,); later calls return the same tensor."""
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
    """A tensor that is not loaded: a view of a storage, `offset` and `stride` in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    gradient: bool

    @property
    def key(self) -> str:
        """Name of the storage."""
        return self.storage.key

    def tensor(self) -> Tensor:
        """Load the tensor on the CPU; tensors of one storage share memory."""
        flat = self.storage.flat()
        made = torch.as_strided(flat, self.shape, self.stride, self.offset)
        return made.requires_grad_() if self.gradient else made


def storage_of(identity: Any, fetch: Callable[[str, int], bytearray]) -> Storage:
    """The storage of a persistent id ("storage", class, key, location, number of elements).

    Args:
        identity: the persistent id.
        fetch: (key, number of bytes) -> the bytes.
    """
    if type(identity) is not tuple or len(identity) not in (5, 6) or identity[0] != "storage":
        raise PickleError("a persistent id is not a storage")
    _, kind, key, _, numbers = identity[:5]
    if type(kind) is not Global or kind.module != "torch" or kind.name not in _STORAGES:
        raise PickleError("a storage of an unknown type")
    if type(key) is not str or type(numbers) is not int or numbers < 0:
        raise PickleError("a storage without a name or length")
    dtype = _STORAGES[kind.name]
    return Storage(key, dtype, numbers, lambda: fetch(key, numbers * dtype.itemsize))


class TensorGlobals:
    """The allowed globals of files that `torch.save` or a pickle of tensors wrote.

    Args:
        size: size of the file in bytes, which bounds the tensors.
        make: makes the value that represents a tensor.
        blob: reads a storage that is embedded as the bytes of a torch file; None if not allowed.
        others: finder of all other globals.
    """

    def __init__(
        self,
        size: int,
        make: Callable[[TensorReference], Any],
        blob: Callable[[Any], Storage] | None = None,
        others: Finder = plain_global,
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
        self._names = {key: Global(*key, call) for key, call in calls.items()}
        self._names |= {("torch", name): Global("torch", name) for name in _STORAGES}

    def find(self, module: str, name: str) -> Global | None:
        """The `Global` of a module and name, or None if it is not allowed."""
        return self._names.get((module, name)) or self._others(module, name)

    def _tensor(
        self, storage: Any, offset: Any, shape: Any, stride: Any, gradient: Any = False, *_: Any
    ) -> Any:
        if type(storage) is IgnoredObject:
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
            # An empty tensor reads nothing, so its offset and strides are not checked.
            offset, stride = 0, (0,) * len(shape)
        return self._make(TensorReference(storage, offset, shape, stride, gradient))


def _gradient(wanted: Any, dtype: torch.dtype) -> bool:
    if type(wanted) is not bool or (wanted and not dtype.is_floating_point):
        raise PickleError("an integer tensor requires a gradient")
    return wanted


def _parameter(data: Any, gradient: Any = True, *_: Any) -> Any:
    """A `torch.nn.Parameter` of a tensor; other representations of tensors are returned as is."""
    if type(data) is Tensor:
        return nn.Parameter(data, requires_grad=_gradient(gradient, data.dtype))
    if type(data) not in (TensorReference, np.ndarray, IgnoredObject):
        raise PickleError("a parameter without its tensor")
    return data
