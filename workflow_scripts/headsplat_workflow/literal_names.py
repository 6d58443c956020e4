"""Lets Snakemake take a user's file name as it is, whatever is in it.

What an input function returns Snakemake takes for a pattern, in which `{subject}` and any other
name in braces stands for a wildcard; it offers no way to escape a brace.
"""

from typing import Any

import snakemake.io
from snakemake.io import flag

_FLAG = "literal"


def literal(path: str) -> Any:
    """An input whose braces are braces."""
    return flag(path, _FLAG)


def install() -> None:
    """Let `literal` inputs through in this process."""
    fill = snakemake.io.apply_wildcards

    def apply_wildcards(pattern: str, wildcards: Any) -> str:
        flags = getattr(pattern, "flags", None)  # most patterns are plain strings
        return pattern if flags and flags.get(_FLAG) else fill(pattern, wildcards)

    snakemake.io.apply_wildcards = apply_wildcards
