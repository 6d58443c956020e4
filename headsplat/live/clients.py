"""The pages and programs that follow a live avatar over WebSockets, each with its newest frame."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from aiohttp import WSMsgType, web

from headsplat.live.slot import Arrived, Slot

CALIBRATE = "calibrate"  # text that a client sends to have the neutral face taken again
CLOSING = 0.3  # seconds that an end may take
_MOST, _LONGEST_TEXT, _HEARTBEAT = 8, 256, 20.0


class Clients:
    """The clients of one server; a slow one gets fewer frames.

    Args:
        calibrate: called when a client sends `CALIBRATE`.
        first: returns what a new client gets before the frames.
        sent: called with the time at which what was sent now had arrived, see `put`.
    """

    def __init__(
        self,
        calibrate: Callable[[], None],
        first: Callable[[], Sequence[str | bytes]] = tuple,
        sent: Callable[[float], None] = lambda arrived: None,
    ) -> None:
        self._calibrate, self._first, self._sent = calibrate, first, sent
        self._slots: set[Slot] = set()

    def put(self, data: bytes, arrived: float | None) -> None:
        """Have a frame sent to every client, unless a newer one comes before its turn.

        Args:
            data: the message.
            arrived: seconds of `time.perf_counter` at which came what it shows; None if nothing.
        """
        for slot in self._slots:
            slot.put(Arrived((data, arrived), arrived or 0.0))

    def end(self) -> None:
        """Close every connection after its last frame."""
        for slot in self._slots:
            slot.end()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Feed one client until it leaves; whether it may connect is checked before."""
        if len(self._slots) >= _MOST:
            raise web.HTTPServiceUnavailable(text="too many clients")
        # Compression would cost more time than it saves on this machine.
        socket = web.WebSocketResponse(
            heartbeat=_HEARTBEAT, max_msg_size=_LONGEST_TEXT, compress=False, timeout=CLOSING
        )
        await socket.prepare(request)
        slot = Slot()
        self._slots.add(slot)
        feeding = asyncio.create_task(self._feed(socket, slot))
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT and message.data == CALIBRATE:
                    self._calibrate()
        finally:
            self._slots.discard(slot)
            feeding.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await feeding
        return socket

    async def _feed(self, socket: web.WebSocketResponse, slot: Slot) -> None:
        with contextlib.suppress(ConnectionError):
            for message in self._first():
                send = socket.send_str if isinstance(message, str) else socket.send_bytes
                await send(message)
            while (newest := await slot.take()) is not None:
                data, arrived = newest.value
                await socket.send_bytes(data)
                if arrived is not None:
                    self._sent(arrived)
            await socket.close()
