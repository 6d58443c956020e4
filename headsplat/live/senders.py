"""What a receiver knows of those who send: their packets, rates and ports."""

import time
from collections import deque
from dataclasses import dataclass, field

from headsplat.live.protocols import Protocol

_BURST = 0.1  # seconds of packets that may come at once
_SILENT = 1.0  # seconds after which another program of the address is heard
_EARLIER, _RETURNS = 4, 3  # ports that are kept, and how often they come back from two programs


@dataclass
class Counts:
    """How many packets were taken, and how many were dropped why."""

    frames: int = 0
    dropped: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("stranger", "length", "rate", "content"), 0)
    )

    def __str__(self) -> str:
        lost = [f"{count} by {why}" for why, count in self.dropped.items() if count]
        return f"{self.frames} frames" + (f", dropped: {', '.join(lost)}" if lost else "")


class Rate:
    """Token bucket: so many a second, with bursts of `_BURST` seconds.

    Args:
        rate: packets a second.
    """

    def __init__(self, rate: int) -> None:
        self._rate, self._most = rate, max(1.0, rate * _BURST)
        self._left, self._last = self._most, time.perf_counter()

    def allows(self, now: float, cost: float) -> bool:
        """Whether a packet may be read that costs as much as so many others."""
        self._left = min(self._most, self._left + (now - self._last) * self._rate)
        self._last = now
        if self._left < cost:
            return False
        self._left -= cost
        return True


class Sender:
    """What is kept of one address.

    Args:
        protocol: that its packets are of.
    """

    def __init__(self, protocol: Protocol) -> None:
        self.reader, self.rate = protocol.load()(), Rate(protocol.rate)


class Ports:
    """Of several programs at one address one is heard, or their faces would alternate.

    A program that was started again sends from a new port. Some take a new one for each packet.
    Only if earlier ports come back, and again, do several programs send.
    """

    def __init__(self) -> None:
        self.several = False
        self._heard, self._last = -1, 0.0
        self._earlier: deque[int] = deque(maxlen=_EARLIER)
        self._returns = 0

    def allows(self, port: int, now: float) -> bool:
        """Whether a packet from a port is heard."""
        if port == self._heard:
            self._last = now
            return True
        if self.several and now - self._last < _SILENT:
            return False
        self._returns = self._returns + 1 if port in self._earlier else 0
        self.several = self._returns >= _RETURNS
        self._earlier.append(self._heard)
        self._heard, self._last = port, now
        return True
