"""Tables with named rows: usable rows as entries, error lines for the others."""

import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Generic, TypeVar

from headsplat.runtime.errors import UserError, shown
from headsplat.runtime.tables import Row

# Short enough for file names, with the suffixes that stages add.
NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}"
# Snakemake takes a name that ends so for a rule that feeds itself, and ends the whole run.
_PERIODIC = re.compile(r"(.+)\1{19}$")


Entry = TypeVar("Entry")


def is_name(text: str) -> bool:
    """Whether a row may have this name, and so a file."""
    return bool(re.fullmatch(NAME, text)) and not _PERIODIC.search(text)


class NamedRows(dict[str, Entry], Generic[Entry]):
    """Name -> entry, in the table's order, of the rows that can be used.

    Attributes:
        table: the file they come from.
        refused: name -> error line with the row's place and its fault. A row without a valid
            name is listed as `line-<number>`.
    """

    def __init__(self, table: Path) -> None:
        super().__init__()
        self.table = table
        self.refused: dict[str, str] = {}

    def refuse(self, name: str, line: str) -> None:
        """Remove a row and record its error line; the first error line of a name is kept."""
        self.pop(name, None)
        self.refused.setdefault(name, line)

    def add(self, row: Row, what: str, make: Callable[[Row], Entry]) -> None:
        """Add a row, or refuse it if it is unreadable, unnamed, listed twice or invalid.

        Args:
            row: its first column has its name.
            what: it names, for messages: "subject" or "motion".
            make: the entry of a row; raises a `UserError` for one that cannot be used.
        """
        given = next(iter(row.cells.values()))
        name = given if is_name(given) else f"line-{row.line}"
        if name in self or name in self.refused:
            self.refuse(name, f"{row.where}: the {what} '{name}' is listed twice; rename one")
            return
        try:
            if row.problem:
                raise UserError(f"{row.where}: {what} '{shown(given)}' has {row.problem}")
            if re.fullmatch(NAME, given) and name != given:
                raise UserError(
                    f"{row.where}: '{shown(given)}' is no {what} name, because it ends with 20 "
                    "repetitions; shorten it"
                )
            if name != given:
                raise UserError(
                    f"{row.where}: '{shown(given)}' is no {what} name; use letters, digits, '_' "
                    "and '-', 100 at most"
                )
            self[name] = make(row)
        except UserError as error:
            self.refuse(name, str(error))


def pattern_of(names: Collection[str]) -> str:
    """A regular expression that matches exactly these names; without names it matches nothing.

    Common beginnings are factored out, so that a match costs the length of a name and not the
    number of names: Snakemake tries the patterns of several rules on each file.
    """
    if not names:
        return "(?!)"
    if len(names) == 1:
        return re.escape(next(iter(names)))
    tails: dict[str, list[str]] = {}
    for name in sorted(names):
        tails.setdefault(name[:1], []).append(name[1:])
    branches = (
        re.escape(first) + (pattern_of(rest) if first else "") for first, rest in tails.items()
    )
    return f"(?:{'|'.join(branches)})"


def pattern_among(names: Collection[str], everyone: Collection[str]) -> str:
    """A regular expression that matches these names and none of the others of `everyone`.

    It lists the smaller of the two sets, because Snakemake processes the text of a rule's patterns
    for each of its jobs.
    """
    others = set(everyone) - set(names)
    if len(others) >= len(names):
        return pattern_of(names)
    left_out = f"(?!{pattern_of(others)}(?![A-Za-z0-9_-]))" if others else ""
    return left_out + NAME
