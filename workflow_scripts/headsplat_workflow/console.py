"""The console of a run: a line per stage, warnings, errors, and one live line on a terminal.

Snakemake's log file keeps everything. Of what its stream handler would print, this handler lets
through what a person acts on; Snakemake's own handler still formats, colors and filters it, so
`--quiet` keeps its meaning. With `--verbose`, `--debug-dag`, a dry run, or a logger plugin that
writes to the console, nothing here is installed.
"""

import copy
import logging
import os
from typing import Any, TextIO

from snakemake.logging import logger
from snakemake_interface_logger_plugins.common import LogEvent

from headsplat.runtime.errors import printable

# What the workflow itself says; Snakemake's handlers get it too, its log file among them.
log = logger.getChild("headsplat")

WIDTH = 120  # characters of a line about a stage
# Of what Snakemake says before the first job, what is about itself.
_ABOUT_ITSELF = (
    "Assuming unrestricted shared filesystem usage",
    "Using shell: ",
    "Conda environments: ignored",
    "Singularity containers: ignored",
    "Group jobs: inactive",
)
# What the lines about failed jobs and the table at the end say as well.
_SAID_ANYWAY = (
    "CalledProcessError",
    "Exiting because a job execution failed",
    "At least one job did not complete successfully",
)


class Console(logging.Handler):
    """Chooses what Snakemake's stream handler prints, and draws the live line below it.

    Args:
        inner: Snakemake's handler.

    Attributes:
        begun: whether the first job was about to start, since when Snakemake only tells of jobs.
        reporting: whether lines about stages and what became of all are printed, so that what
            Snakemake says about failed jobs would be said twice.
    """

    def __init__(self, inner: logging.StreamHandler[TextIO]) -> None:
        super().__init__()
        self.name = "headsplat console"
        self.begun = self.reporting = False
        self._inner, self._stream = inner, inner.stream
        self._started = False
        self._live = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record, or not."""
        try:
            self._print(record)
        except Exception:  # as all handlers: the run goes on
            self.handleError(record)

    def _print(self, record: logging.LogRecord) -> None:
        event = getattr(record, "event", None)
        # Listing, linting and summaries do not come here: all that they say is printed.
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
        """Rewrite the live line, on a terminal; an empty one takes it away."""
        self.acquire()
        try:
            self._draw(printable(line)[: self._columns()])
        finally:
            self.release()

    def close(self) -> None:
        """Take the live line away."""
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
            said = by_snakemake and any(words in text for words in _SAID_ANYWAY)
            return not (self.reporting and (about_a_job or said))
        if record.name == log.name or event == LogEvent.SHELLCMD:  # the latter by -p alone
            return True
        if not self._started or (event is None and not self.begun):
            return not text.startswith(_ABOUT_ITSELF)
        return False

    def _draw(self, line: str) -> None:
        if not (line or self._live) or not self.is_terminal:
            return
        # Blanks, because not every terminal knows how to erase.
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
        except OSError:  # the terminal is gone; the run goes on
            self._live = ""


def _safe(text: str) -> str:
    """Text whose lines hold no control characters."""
    return "\n".join(printable(line) for line in text.split("\n"))


def install(settings: Any) -> Console | None:
    """Put a console in the place of Snakemake's stream handler, where there is one.

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
