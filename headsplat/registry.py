"""Plug-in registries: name, import path and one-line description of each entry.

An entry names its code as "package.module:attribute". The module is imported when the plug-in is
used, so that a table can be read without torch. `headsplat_workflow.codehash` follows these names
as it follows imports.
"""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Generic, TypeVar

from headsplat.runtime.errors import UserError, shown


@dataclass(frozen=True)
class Plugin:
    """One entry of a table; the tables add fields of their own.

    Attributes:
        target: "package.module:attribute".
        description: short phrase for help texts.
    """

    target: str
    description: str

    @property
    def module(self) -> str:
        """Dotted name of the target's module."""
        return self.target.partition(":")[0]

    def load(self) -> Any:
        """Import the module and return its attribute."""
        module, _, attribute = self.target.partition(":")
        return getattr(import_module(module), attribute)


Entry = TypeVar("Entry", bound=Plugin)


class Registry(Mapping[str, Entry], Generic[Entry]):
    """Plug-ins of one kind by name, in the order of the table.

    Args:
        what: the kind, in the singular, for messages: "head model".
        entries: name -> plug-in.

    Attributes:
        entries: the table itself.
    """

    def __init__(self, what: str, entries: Mapping[str, Entry]) -> None:
        self._what, self.entries = what, dict(entries)

    def __getitem__(self, name: str) -> Entry:
        """The entry of a name; an unknown name is a `UserError` that lists the known ones."""
        if name not in self.entries:
            raise UserError(f"{self._what} '{shown(str(name))}': {self.hint(name)}")
        return self.entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def hint(self, name: str) -> str:
        """Suggestion for an unknown name: the nearest name, or all names."""
        close = difflib.get_close_matches(str(name), self.entries, n=1, cutoff=0.5)
        return f"did you mean '{close[0]}'?" if close else f"one of {', '.join(self.entries)}"

    def described(self) -> str:
        """All names with their descriptions, for help texts."""
        return "; ".join(f"{name}: {entry.description}" for name, entry in self.items())
