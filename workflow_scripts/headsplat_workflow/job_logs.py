"""Parse a job's log file: progress, rates, and the reason of a failure."""

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
    """A progress line: `done` of `total`, rate per second, seconds left.

    `unit` names what the rate counts if that differs from `done`, e.g. images instead of training
    steps.
    """

    what: str
    done: int
    total: int
    rate: float
    left: float
    unit: str = ""


def tail(log: Path) -> list[str]:
    """The last non-empty lines of a log; empty if there is no log."""
    try:
        with open(log, "rb") as handle:
            handle.seek(0, 2)
            handle.seek(max(0, handle.tell() - _TAIL))
            text = handle.read().decode(errors="replace")
    except OSError:
        return []
    return [line.rstrip() for line in re.split(r"[\r\n]+", text) if line.strip()]


def last_progress(lines: list[str]) -> Progress | None:
    """The newest progress line; None if there is none or that work has finished."""
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


def image_rate(lines: list[str]) -> float | None:
    """The newest rate in images per second, of finished work too; None if no line has one."""
    found = (_PROGRESS.match(line) for line in reversed(lines))
    return next((float(line["rate"]) for line in found if line and line["unit"]), None)


def failure(lines: list[str]) -> str | None:
    """The line that says why a job failed; None if the log reports no failure."""
    for line in reversed(lines):
        if line.startswith("error: "):
            return line.removeprefix("error: ")
    if any(line.startswith("Traceback (most recent call last)") for line in lines):
        return lines[-1]
    return None


def stopped(lines: list[str]) -> bool:
    """Whether the job was asked to stop and ended as requested."""
    return bool(lines) and lines[-1].startswith("stopped;")
