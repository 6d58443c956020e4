"""Arguments of a stage's command, each a word of its own that the rule's `:q` quotes.

A value stands behind its flag and '=', so that one which begins with '-' is not read as a flag.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headsplat.networks.model_files import VARIABLE, default_folder


def argument(flag: str, value: Any) -> list[str]:
    """`--flag=value`; no word for an absent value.

    Args:
        flag: without its dashes; '_' stands for '-'.
        value: None, "" and an empty list are absent. Of Snakemake's lists of one file, the file.

    Raises:
        ValueError: a list of several values.
    """
    if isinstance(value, list):
        if len(value) > 1:
            raise ValueError(f"--{flag} takes one value, not {len(value)}")
        value = value[0] if value else None
    if value is None or value == "":
        return []
    return [f"--{flag.replace('_', '-')}={value}"]


def arguments(values: Mapping[str, Any]) -> list[str]:
    """As `argument`, for each item."""
    return [word for flag, value in values.items() for word in argument(flag, value)]


def set_scripts(folder: Path) -> None:
    """Let the rules' commands find the stages' scripts as "$HEADSPLAT_SCRIPTS"/<stage>.py.

    The working folder may be apart from the checkout. The path is relative to it, so that commands
    and the jobs' parameters do not change with the place of both.
    """
    os.environ["HEADSPLAT_SCRIPTS"] = os.path.relpath(folder)


def set_models() -> None:
    """Let stages in environments of their own, such as conda's, find this one's model files."""
    os.environ.setdefault(VARIABLE, str(default_folder()))
