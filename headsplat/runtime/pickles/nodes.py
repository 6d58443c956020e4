"""What stands in a read pickle for the objects of classes: plain holders that do nothing."""

from collections.abc import Callable
from typing import Any

from headsplat.runtime.errors import shown


class PickleError(ValueError):
    """The file is damaged, or says what no file of its kind does; the message is short."""


class RefusedError(PickleError):
    """It names something that is not read here; `named` is "module.name"."""

    def __init__(self, module: str, name: str) -> None:
        self.named = shown(f"{module}.{name}")
        super().__init__(f"it names {self.named}")


class Name:
    """A global that a pickle names: never looked up, only compared.

    Attributes:
        module: as written.
        name: as written.
        call: our own code for a call of it, or None.
        new: our own code for an object of it, or None.
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


class KeptState:
    """An object of a class that is not at hand: its pickled state and nothing else."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state: dict[Any, Any] = {}


class SparseColumns(KeptState):
    """A scipy csc matrix: `data`, `indices`, `indptr` and `_shape` in its state."""

    __slots__ = ()


class ChumpyNode(KeptState):
    """An object of any chumpy class."""

    __slots__ = ()


class ChumpyArray(ChumpyNode):
    """A `chumpy.Ch`: its values under `x`, where functions keep what they are applied to."""

    __slots__ = ()


class Inert:
    """An object of a class that is not wanted; nothing of it is kept."""

    __slots__ = ()
