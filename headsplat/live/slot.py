"""Newest wins: what passes between the loops of a live avatar, and how long it took."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

_KEPT = 1024  # latest latencies
_LEAST = 1e-3  # seconds


@dataclass(frozen=True, eq=False)
class Arrived:
    """A value and when it arrived, in seconds of `time.perf_counter`."""

    value: Any
    seconds: float


class Slot:
    """Keeps the newest value for one reader; a put never waits, and there is no queue."""

    def __init__(self) -> None:
        self._value: Arrived | None = None
        self._there = asyncio.Event()
        self._ended = False

    def put(self, value: Arrived) -> None:
        """Replace the value."""
        self._value = value
        self._there.set()

    def end(self) -> None:
        """No further value comes."""
        self._ended = True
        self._there.set()

    async def take(self) -> Arrived | None:
        """Wait for a value that was not taken yet; None when there will be no more."""
        await self._there.wait()
        value, self._value = self._value, None
        if not self._ended:
            self._there.clear()
        return value


class Pace:
    """At most so many frames a second on average, each as soon as it is there.

    Args:
        fps: frames a second.
    """

    def __init__(self, fps: float) -> None:
        self._step, self._due = 1 / fps, time.perf_counter()

    async def ready(self) -> None:
        """Wait until another frame may be sent: half a step before it is due."""
        await asyncio.sleep(max(0.0, self._due - self._step / 2 - time.perf_counter()))

    def patience(self) -> float:
        """Seconds until a steady output repeats its last frame: half a step after it is due."""
        # Never none: a frame that is there already must be taken even if it is late.
        return max(_LEAST, self._due + self._step / 2 - time.perf_counter())

    def sent(self) -> None:
        """Note that a frame was sent; late ones are not made up for."""
        self._due = max(self._due, time.perf_counter()) + self._step


class Latency:
    """Latest times from a packet's arrival to its frame's end of sending."""

    def __init__(self) -> None:
        self.count = 0
        self._kept = np.zeros(_KEPT)

    def add(self, arrived: float) -> None:
        """Note a frame that was sent now and arrived then, `time.perf_counter` seconds."""
        self._kept[self.count % _KEPT] = time.perf_counter() - arrived
        self.count += 1

    def __str__(self) -> str:
        middle, high = self.percentiles()
        return (
            f"{self.count} frames, {1000 * middle:.1f} ms after they came "
            f"(95 %: {1000 * high:.1f} ms)"
        )

    def percentiles(self) -> tuple[float, float]:
        """Median and 95th percentile of the latest ones, in seconds; NaN before the first."""
        kept = self._kept[: min(self.count, _KEPT)]
        if not len(kept):
            return float("nan"), float("nan")
        middle, high = np.percentile(kept, [50, 95])
        return float(middle), float(high)
