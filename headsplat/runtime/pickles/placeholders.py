"""Placeholders for globals and objects in a pickle, and the errors of the restricted unpickler."""

from collections.abc import Callable
from typing import Any

from headsplat.runtime.errors import shown


class PickleError(ValueError):
    """The file is damaged or contains what no genuine file does; the message is short."""


class RefusedError(PickleError):
    """The file names a global that is not allowed; `named` is "module.name"."""

    def __init__(self, module: str, name: str) -> None:
        self.named = shown(f"{module}.{name}")
        super().__init__(f"it names {self.named}")


class Global:
    """A global that a pickle names; it is compared by name and never imported.

    Attributes:
        module: module name in the file.
        name: qualified name in the file.
        call: handler for a call of it, or None.
        new: handler that makes an object of the class, or None.
    """

    __slots__ = ("call", "module", "name", "new")

    def __init__(
        self,
        module: str,
        name: str,
        call: Callable[..., Any] | None = None,
        new: Callable[[], Any] | None = None,
    ) -> None:
        self.module, self.name = module, name
        self.call, self.new = call, new


class ObjectState:
    """The pickled state of an object whose class is not imported."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state: dict[Any, Any] = {}


class SparseColumns(ObjectState):
    """A `scipy.sparse.csc_matrix`: `data`, `indices`, `indptr` and `_shape` in its state."""

    __slots__ = ()


class ChumpyNode(ObjectState):
    """An object of any chumpy class."""

    __slots__ = ()


class ChumpyArray(ChumpyNode):
    """A `chumpy.Ch` array, with its values under `x`."""

    __slots__ = ()


class IgnoredObject:
    """An object of an unwanted class, of which nothing is kept."""

    __slots__ = ()


class PendingObject:
    """An object whose BUILD opcode, and so its state, comes later.

    Attributes:
        build: takes the state and returns the value that replaces this placeholder.
        value: that value; the placeholder itself until then.
    """

    __slots__ = ("build", "value")

    def __init__(self, build: Callable[[Any], Any]) -> None:
        self.build = build
        self.value: Any = self


class SharedObject:
    """An object that its state changes in place, so that all references see the change."""

    __slots__ = ()

    def build(self, state: Any) -> None:
        """Apply the state."""
        raise NotImplementedError
