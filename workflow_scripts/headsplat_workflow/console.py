"""Console output of a run: one line per stage, warnings, errors, and a live progress line.

`Console` wraps Snakemake's stream handler and filters its records; Snakemake's log file keeps
everything. The wrapped handler still formats, colors and filters, so `--quiet` works as usual. The
filter is not installed with `--verbose`, `--debug-dag`, in a dry run, or with a logger plugin that
writes to the console.
"""

import copy
import logging
import os
from typing import Any, TextIO

from snakemake.logging import logger
from snakemake_interface_logger_plugins.common import LogEvent

from headsplat.runtime.errors import printable

# Logger of the workflow's own messages; Snakemake's handlers, its log file included, receive them.
log = logger.getChild("headsplat")

WIDTH = 120  # longest line about a stage, characters
# Snakemake's messages before the first job that do not concern the user.
_STARTUP_NOISE = (
    "Assuming unrestricted shared filesystem usage",
    "Using shell: ",
    "Conda environments: ignored",
    "Singularity containers: ignored",
    "Group jobs: inactive",
)
# Errors that the lines about failed jobs and the closing summary repeat.
_REPEATED = (
    "CalledProcessError",
    "Exiting because a job execution failed",
    "At least one job did not complete successfully",
)


class Console(logging.Handler):
    """Filters what Snakemake's stream handler prints, and draws the live line below it.

    Args:
        inner: Snakemake's handler.

    Attributes:
        begun: set before the first job; from then on Snakemake's own messages are dropped.
        reporting: whether the workflow reports stages and the summary itself, so that Snakemake's
            messages about failed jobs are dropped as duplicates.
    """

    def __init__(self, inner: logging.StreamHandler[TextIO]) -> None:
        super().__init__()
        self.name = "headsplat console"
        self.begun = self.reporting = False
        self._inner, self._stream = inner, inner.stream
        self._started = False
        self._live = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record if it passes the filter."""
        try:
            self._print(record)
        except Exception:  # as in all handlers: logging must not end the run
            self.handleError(record)

    def _print(self, record: logging.LogRecord) -> None:
        event = getattr(record, "event", None)
        # Never set for listing, linting and summaries: everything they say is printed.
        self._started |= event == LogEvent.WORKFLOW_STARTED
        if not self._is_wanted(record, event):
            return
        live = self._live
        self._draw("")
        if record.name == log.name and record.levelno < logging.WARNING:
            if self._inner.filter(record):
                self._write(_safe(record.getMessage()) + "\n")
        else:
            if event is None or event == LogEvent.ERROR:
                record = copy.copy(record)
                record.msg, record.args = _safe(record.getMessage()), None
            self._inner.handle(record)
        self._draw(live)

    def draw(self, line: str) -> None:
        """Redraw the live line on a terminal; an empty line removes it."""
        self.acquire()
        try:
            self._draw(printable(line)[: self._columns()])
        finally:
            self.release()

    def close(self) -> None:
        """Remove the live line."""
        self.draw("")
        super().close()

    @property
    def is_terminal(self) -> bool:
        """Whether a live line can be drawn."""
        return self._stream.isatty()

    def _is_wanted(self, record: logging.LogRecord, event: str | None) -> bool:
        text = str(record.msg)
        if record.levelno >= logging.WARNING:
            about_a_job = event in (LogEvent.JOB_ERROR, LogEvent.GROUP_ERROR)
            by_snakemake = event in (LogEvent.ERROR, None) and record.levelno >= logging.ERROR
            repeated = by_snakemake and any(words in text for words in _REPEATED)
            return not (self.reporting and (about_a_job or repeated))
        if record.name == log.name or event == LogEvent.SHELLCMD:  # logged with -p only
            return True
        if not self._started or (event is None and not self.begun):
            return not text.startswith(_STARTUP_NOISE)
        return False

    def _draw(self, line: str) -> None:
        if not (line or self._live) or not self.is_terminal:
            return
        # Overwrite with blanks, because not every terminal supports erasing.
        self._write("\r" + line.ljust(len(self._live)) + ("" if line else "\r"))
        self._live = line

    def _columns(self) -> int:
        try:
            return max(os.get_terminal_size(self._stream.fileno()).columns - 1, 0)
        except (OSError, ValueError):
            return WIDTH

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:  # the terminal is gone; the run continues
            self._live = ""


def _safe(text: str) -> str:
    """Text without control characters except newlines."""
    return "\n".join(printable(line) for line in text.split("\n"))


def install(settings: Any) -> Console | None:
    """Replace Snakemake's stream handler by a `Console`; None where there is no such handler.

    Args:
        settings: Snakemake's output settings.
    """
    if settings.dryrun or settings.verbose or settings.debug_dag:
        return None
    for handler in logger.handlers:
        stream = isinstance(handler, logging.StreamHandler)
        if stream and not isinstance(handler, logging.FileHandler):
            console = Console(handler)
            logger.removeHandler(handler)
            logger.addHandler(console)
            return console
    return None
