"""Receiver of one performer's packets over UDP.

The first sender of a frame is the performer; packets of other addresses are dropped. Until then
each address has a reader and a rate of its own, so that others cost the performer nothing. There is
no queue: the newest frame replaces the one before, and a packet is dropped before it is read if
it is too long or beyond the rate. Memory does not depend on how much arrives.
"""

import asyncio
import socket
import time

from headsplat.live.addresses import ANY, family_of, is_loopback, own_address, udp_socket
from headsplat.live.frame import BadPacket
from headsplat.live.protocols import RATE, Protocol
from headsplat.live.senders import Counts, Ports, Sender
from headsplat.live.slot import Arrived, Slot
from headsplat.runtime.errors import UserError, shown
from headsplat.runtime.logs import log

LARGEST = 2048  # bytes
_UNIT = 256  # bytes of OSC that count as one packet
_AT_ONCE = 64  # packets that are taken before others get their turn
_GREETING_SECONDS = 2.0  # between greetings while nothing comes
_OTHERS = ""
_MOST_SENDERS = 8  # before one is the performer; further ones share a reader and a rate


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
            family, self._sender = family_of(sender)
        self.slot, self.counts = Slot(), Counts()
        self._buffer = bytearray(LARGEST + 1)
        self._senders: dict[str, Sender] = {}
        self._valid = False
        self._ports, self._told = Ports(), False
        wanted = protocol.port if port is None else port
        self._host = host
        self._socket = udp_socket(family, host, wanted)
        self.port = self._socket.getsockname()[1]
        self._greeting: asyncio.Task | None = None

    @property
    def sender(self) -> str | None:
        """Address of the performer, once it is known."""
        return self._sender

    def __enter__(self) -> "Receiver":
        loop = asyncio.get_running_loop()
        loop.add_reader(self._socket.fileno(), self._drain)
        log.info("%s", self._invitation())
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
            self._take(length, address[0], address[1], time.perf_counter())

    def _take(self, length: int, address: str, port: int, now: float) -> None:
        dropped = self.counts.dropped
        if self._sender is not None and not self._is_performer(address, port, now):
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

    def _is_performer(self, address: str, port: int, now: float) -> bool:
        """Whether a packet is of the performer's address and program."""
        own = address == self._sender
        if own and self._ports.allows(port, now):
            return True
        if not self._told:
            self._told = True
            if own:
                log.warning("several programs of %s send at once; one of them is heard", address)
            else:
                log.warning("packets from %s are ignored: %s is heard", address, self._sender)
        return False

    def missing(self) -> str:
        """What may be wrong, as long as no face has come; empty afterwards."""
        name = self._protocol.description
        if self.counts.frames:
            return ""
        if self.counts.dropped["content"]:
            return f"what arrives is not from {name}; look at the app's settings, or at --in"
        return (
            f"nothing from {name} yet; computer and phone must be in the same network, and the "
            f"firewall must let UDP port {self.port} through"
        )

    def _invitation(self) -> str:
        """What is waited for, and what to do on the phone."""
        name, port = self._protocol.description, self.port
        if self._protocol.greeting:
            return f"asking {name} on {self._sender} to send to UDP port {port}; keep the app open"
        waiting = f"waiting for {name} on UDP port {port}"
        if self._sender is not None:
            waiting = f"{waiting}, from {self._sender} alone"
        if is_loopback(self._host):
            return f"{waiting} of {self._host}, which programs of this computer alone reach"
        host = own_address(self._sender) if self._host in ANY else self._host
        own = host or "this computer's own"
        return f"{waiting}; in the app, enter {own} as address and {port} as port"

    def _cost(self, length: int) -> float:
        """Of a packet; in protocols that allow small packets by the thousand, by its length."""
        return max(1.0, length / _UNIT) if self._protocol.rate > RATE else 1.0

    def _of(self, address: str) -> Sender:
        """What is kept of an address."""
        if address not in self._senders and len(self._senders) >= _MOST_SENDERS:
            address = _OTHERS
        if address not in self._senders:
            self._senders[address] = Sender(self._protocol)
        return self._senders[address]

    def _pin(self, address: str, sender: Sender) -> None:
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
