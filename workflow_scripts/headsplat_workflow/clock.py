"""Files dated in the future: what is made of them looks older than they are."""

import os
import shlex
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from headsplat_workflow.subjects import Subjects

from headsplat.runtime.errors import UserError, shown


def require_past(files: Iterable[Path | str]) -> None:
    """Find out before a run that Snakemake would refuse what is made of a file.

    Raises:
        UserError: a file is dated later than now.
    """
    for path in files:
        try:
            stamp = os.stat(path).st_mtime
        except OSError:  # a missing file is reported elsewhere
            continue
        if stamp > time.time() + 1:  # file servers round, and their clocks differ a little
            name = shown(str(path))
            raise UserError(
                f"{name}: dated {_date(stamp)}, which is in the future; set the clock right or "
                f"'touch {shlex.quote(name)}', and the same command continues"
            )


def refuse_future(subjects: Subjects) -> None:
    """Take out the subjects whose video is dated later than now."""
    for name, subject in list(subjects.items()):
        try:
            require_past([subject.video] if subject.video else [])
        except UserError as error:
            subjects.refuse(name, f"subject '{name}': {error}")


def _date(stamp: float) -> str:
    try:
        return f"{datetime.fromtimestamp(stamp):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return "after the year 9999"
