"""What the log of a job tells: where it stands, and why it ended."""

import re
from dataclasses import dataclass
from pathlib import Path

_TAIL = 8192  # bytes of a log that are read: its last lines
_PROGRESS = re.compile(
    r"^\S+ (?P<what>.+?) (?P<done>\d+)/(?P<total>\d+)  (?P<rate>[\d.]+)(?P<unit> images)?/s"
    r".*?  (?P<left>\d+) s left$"
)
_OVER = re.compile(r"^\S+ .+? \d+/\d+ done in [\d.]+ s \(")


@dataclass(frozen=True)
class Progress:
    """A stage's line of progress: `done` of `total`, how many a second, seconds left.

    `unit` is what the rate counts where that is not what `done` counts: training steps, images.
    """

    what: str
    done: int
    total: int
    rate: float
    left: float
    unit: str = ""


def tail(log: Path) -> list[str]:
    """The last lines of a log that are not empty; none where there is no log."""
    try:
        with open(log, "rb") as handle:
            handle.seek(0, 2)
            handle.seek(max(0, handle.tell() - _TAIL))
            text = handle.read().decode(errors="replace")
    except OSError:
        return []
    return [line.rstrip() for line in re.split(r"[\r\n]+", text) if line.strip()]


def last_progress(lines: list[str]) -> Progress | None:
    """The newest progress among the lines of a log; None where what it tells of is over."""
    for line in reversed(lines):
        if _OVER.match(line):
            return None
        found = _PROGRESS.match(line)
        if found:
            return Progress(
                found["what"], int(found["done"]), int(found["total"]),
                float(found["rate"]), float(found["left"]), found["unit"] or "",
            )  # fmt: skip
    return None


def failure(lines: list[str]) -> str | None:
    """The line that says why a job failed, or None where its log does not say that it did."""
    for line in reversed(lines):
        if line.startswith("error: "):
            return line.removeprefix("error: ")
    if any(line.startswith("Traceback (most recent call last)") for line in lines):
        return lines[-1]
    return None


def stopped(lines: list[str]) -> bool:
    """Whether the job was asked to stop and did so in good order."""
    return bool(lines) and lines[-1].startswith("stopped;")
