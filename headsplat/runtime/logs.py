"""The logger of the library, and a formatter that keeps each record on one line."""

import logging

from headsplat.runtime.errors import printable

log = logging.getLogger("headsplat")


class OneLine(logging.Formatter):
    """Writes each record as one line; control characters in file names are escaped."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        """As logging's."""
        record.message = printable(record.message)
        return super().formatMessage(record)
