"""Receiver of one performer's packets over UDP.

The first sender of a frame is the performer; packets of other addresses are dropped. Until then
each address has a reader and a rate of its own, so that others cost the performer nothing. There is
no queue: the newest frame replaces the one before, and a packet is dropped before it is read if
it is too long or beyond the rate. Memory does not depend on how much arrives.
"""

import asyncio
import socket
import time
from dataclasses import dataclass, field

from headsplat.live.frame import BadPacket
from headsplat.live.protocols import RATE, Protocol
from headsplat.live.slot import Arrived, Slot
from headsplat.runtime.errors import UserError, shown
from headsplat.runtime.logs import log

LARGEST = 2048  # bytes
_BURST = 0.1  # seconds of packets that may come at once
_UNIT = 256  # bytes of OSC that count as one packet
_AT_ONCE = 64  # packets that are taken before others get their turn
_GREETING_SECONDS = 2.0  # between greetings while nothing comes
_OTHERS = ""
_MOST_SENDERS = 8  # before one is the performer; further ones share a reader and a rate
_BUFFER = 1 << 18  # bytes that the kernel keeps


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


class _Rate:
    """Token bucket: so many a second, with bursts of `_BURST` seconds."""

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


class _Sender:
    """What is kept of one address."""

    def __init__(self, protocol: Protocol) -> None:
        self.reader, self.rate = protocol.load()(), _Rate(protocol.rate)


class Receiver:
    """Receives one protocol; a context manager within a running event loop.

    Args:
        protocol: what the packets are.
        host: address to listen on.
        port: UDP port; 0 takes any.
        sender: the only address that is listened to; None takes the first one that sends a frame.
            Protocols with a greeting need it.

    Attributes:
        slot: the newest frame.
        counts: of packets.
        port: that it listens on.

    Raises:
        UserError: the address cannot be listened on, or the sender is no IP address.
    """

    def __init__(
        self, protocol: Protocol, host: str, port: int | None, sender: str | None = None
    ) -> None:
        if protocol.greeting and sender is None:
            raise UserError(
                f"{protocol.description} sends nothing before it is asked; give the phone's IP "
                "address with --phone"
            )
        self._protocol = protocol
        family, self._sender = socket.AF_INET, None
        if sender is not None:
            family, self._sender = _address(sender)
        self.slot, self.counts = Slot(), Counts()
        self._buffer = bytearray(LARGEST + 1)
        self._senders: dict[str, _Sender] = {}
        self._valid = False
        wanted = protocol.port if port is None else port
        self._socket = _listening(family, host, wanted)
        self.port = self._socket.getsockname()[1]
        self._greeting: asyncio.Task | None = None

    @property
    def sender(self) -> str | None:
        """Address of the performer, once it is known."""
        return self._sender

    def __enter__(self) -> "Receiver":
        loop = asyncio.get_running_loop()
        loop.add_reader(self._socket.fileno(), self._drain)
        if self._protocol.greeting:
            self._greeting = loop.create_task(self._greet())
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()
        if self._greeting is not None:
            self._greeting.cancel()

    def _drain(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                length, address = self._socket.recvfrom_into(self._buffer)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:  # an earlier greeting was refused
                continue
            self._take(length, address[0], time.perf_counter())

    def _take(self, length: int, address: str, now: float) -> None:
        dropped = self.counts.dropped
        if self._sender is not None and address != self._sender:
            dropped["stranger"] += 1
        elif length > LARGEST:
            dropped["length"] += 1
        elif not (sender := self._of(address)).rate.allows(now, self._cost(length)):
            dropped["rate"] += 1
        else:
            try:
                frame = sender.reader.read(bytes(memoryview(self._buffer)[:length]))
            except BadPacket as error:
                dropped["content"] += 1
                if dropped["content"] == 1:
                    log.warning("a packet from %s is dropped: %s", address, shown(str(error)))
                return
            if frame is not None or self._sender is not None:
                self._pin(address, sender)
            if frame is not None:
                self.counts.frames += 1
                self.slot.put(Arrived(frame, now))

    def _cost(self, length: int) -> float:
        """Of a packet; in protocols that allow small packets by the thousand, by its length."""
        return max(1.0, length / _UNIT) if self._protocol.rate > RATE else 1.0

    def _of(self, address: str) -> _Sender:
        """What is kept of an address."""
        if address not in self._senders and len(self._senders) >= _MOST_SENDERS:
            address = _OTHERS
        if address not in self._senders:
            self._senders[address] = _Sender(self._protocol)
        return self._senders[address]

    def _pin(self, address: str, sender: _Sender) -> None:
        if not self._valid:
            self._sender, self._senders, self._valid = address, {address: sender}, True
            log.info("%s from %s; other senders are ignored", self._protocol.description, address)

    async def _greet(self) -> None:
        """Ask the phone to send, until it does, and again when it stops."""
        count = -1
        while True:
            if self.counts.frames == count or count < 0:
                target = (self._sender, self._protocol.phone_port)
                try:
                    self._socket.sendto(self._protocol.greeting, target)
                except OSError as error:
                    log.warning("%s cannot be reached (%s)", target[0], error.strerror)
            count = self.counts.frames
            await asyncio.sleep(_GREETING_SECONDS)


def _address(text: str) -> tuple[socket.AddressFamily, str]:
    """Family and canonical form of an IP address."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return family, socket.inet_ntop(family, socket.inet_pton(family, text))
        except (OSError, ValueError):
            continue
    raise UserError(f"--phone '{shown(text)}': give the IP address that the phone shows")


def _listening(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_DGRAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        made.bind((host, port))
    except (OSError, OverflowError) as error:
        made.close()
        raise UserError(
            f"UDP port {port} of {shown(host)} cannot be listened on ({error}); end the other "
            "program that uses it, or give another --udp-port"
        ) from error
    return made
