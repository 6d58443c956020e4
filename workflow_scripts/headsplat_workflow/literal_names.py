"""Lets Snakemake 9.27 take a user's file name as it is, whatever is in it.

What an input function returns it takes for a pattern, in which `{subject}` and any other name in
braces stands for a wildcard.
"""

from typing import Any

from snakemake.io import _IOFile, flag

_FLAG = "literal"


def literal(path: str) -> Any:
    """An input whose braces are braces."""
    return flag(path, _FLAG)


def install() -> None:
    """Let `literal` inputs through in this process."""
    fill = _IOFile.apply_wildcards

    def apply_wildcards(self: _IOFile, wildcards: Any) -> _IOFile:
        flags = getattr(self._file, "flags", None)  # most files are plain strings
        as_it_is = flags and flags.get(_FLAG) and not self.is_storage
        return self if as_it_is else fill(self, wildcards)

    _IOFile.apply_wildcards = apply_wildcards
