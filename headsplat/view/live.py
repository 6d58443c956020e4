"""The live stream of the page: what a phone sends over UDP, as messages over a WebSocket."""

import asyncio
import contextlib

from aiohttp import WSMsgType, web

from headsplat.live.frame import to_message
from headsplat.live.options import InputOptions
from headsplat.live.performer import Performer
from headsplat.live.protocols import PROTOCOLS
from headsplat.live.slot import Arrived, Pace, Slot
from headsplat.live.sources import PhoneSource
from headsplat.live.websocket import CALIBRATE
from headsplat.runtime.logs import log

_FPS = 60  # messages a second, at most
_MOST_CLIENTS, _LONGEST_TEXT, _HEARTBEAT, _CLOSING = 8, 256, 20.0, 0.3


class LiveStream:
    """One phone, and the pages that follow it; an asynchronous context manager.

    Args:
        protocol: a key of `PROTOCOLS`.
        options: of the input.
    """

    def __init__(self, protocol: str, options: InputOptions) -> None:
        entry = PROTOCOLS[protocol]
        self.performer = Performer(entry, options)
        self._source = PhoneSource(entry, options, self.performer, None)
        self._slots: set[Slot] = set()

    @property
    def port(self) -> int:
        """UDP port that it listens on."""
        return self._source.port

    async def __aenter__(self) -> "LiveStream":
        await self._source.__aenter__()
        self._sending = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._sending.cancel()
        for slot in self._slots:
            slot.end()
        await self._source.__aexit__()
        log.info("phone: %s", self._source.report())

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Feed one page until it leaves."""
        if len(self._slots) >= _MOST_CLIENTS:
            raise web.HTTPServiceUnavailable(text="too many pages")
        socket = web.WebSocketResponse(
            heartbeat=_HEARTBEAT, max_msg_size=_LONGEST_TEXT, compress=False, timeout=_CLOSING
        )
        await socket.prepare(request)
        slot = Slot()
        self._slots.add(slot)
        feeding = asyncio.create_task(_feed(socket, slot))
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT and message.data == CALIBRATE:
                    self.performer.ask()
        finally:
            self._slots.discard(slot)
            feeding.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await feeding
        return socket

    async def _run(self) -> None:
        pace, sequence = Pace(_FPS), 0
        while True:
            await pace.ready()
            arrived = await self._source.slot.take()
            if arrived is None:
                return
            frame = self.performer.next(arrived.value, arrived.seconds)
            message = to_message(frame, sequence, arrived.seconds)
            for slot in self._slots:
                slot.put(Arrived(message, arrived.seconds))
            pace.sent()
            sequence += 1


async def _feed(socket: web.WebSocketResponse, slot: Slot) -> None:
    with contextlib.suppress(ConnectionError):
        while (newest := await slot.take()) is not None:
            await socket.send_bytes(newest.value)
        await socket.close()
