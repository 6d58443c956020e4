"""Tables whose rows bear a name: the rows that can be used, and what is wrong with the others."""

import re
from collections.abc import Callable
from pathlib import Path

from headsplat.runtime.errors import UserError, shown
from headsplat.runtime.tables import Row

# No longer than a file's name may be, with what stages add to it.
NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}"


class NamedRows(dict[str, dict[str, str]]):
    """Name -> cells by column, in the table's order, of the rows that can be used.

    Attributes:
        table: the file they come from.
        refused: name -> the line that says where its row is and what is wrong with it. A row
            without a name of its own goes by its line.
    """

    def __init__(self, table: Path) -> None:
        super().__init__()
        self.table = table
        self.refused: dict[str, str] = {}

    def refuse(self, name: str, line: str) -> None:
        """Take a row out, for what `line` says; the first such line stays."""
        self.pop(name, None)
        self.refused.setdefault(name, line)

    def add(self, row: Row, what: str, check: Callable[[Row], None]) -> None:
        """Take the next row, or refuse it: unreadable, unnamed, named twice or not as it must be.

        Args:
            row: its first column has its name.
            what: it names, for messages: "subject" or "motion".
            check: raises a `UserError` for a row that cannot be used; may change its cells.
        """
        given = next(iter(row.cells.values()))
        name = given if re.fullmatch(NAME, given) else f"line-{row.line}"
        if name in self or name in self.refused:
            self.refuse(name, f"{row.where}: the {what} '{name}' is listed twice; rename one")
            return
        try:
            if row.problem:
                raise UserError(f"{row.where}: {what} '{shown(given)}' has {row.problem}")
            if name != given:
                raise UserError(
                    f"{row.where}: '{shown(given)}' is no {what} name; use letters, digits, '_' "
                    "and '-', 100 at most"
                )
            check(row)
        except UserError as error:
            self.refuse(name, str(error))
        else:
            self[name] = row.cells
