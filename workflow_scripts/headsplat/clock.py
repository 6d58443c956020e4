"""Files of a day to come: what is made of them looks older than they are."""

import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from headsplat.errors import UserError


def require_past(files: Iterable[Path | str]) -> None:
    """Find out before a run that Snakemake would refuse what is made of a file.

    Raises:
        UserError: a file is dated later than now.
    """
    for path in map(Path, files):
        stamp = path.stat().st_mtime if path.exists() else 0.0
        if stamp > time.time() + 1:  # file servers round, and their clocks differ a little
            raise UserError(
                f"{path}: dated {datetime.fromtimestamp(stamp):%Y-%m-%d %H:%M:%S}, which is still "
                f"to come; set the clock right or 'touch {path}', and the same command continues"
            )
