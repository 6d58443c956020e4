"""The live stream of the page: what a phone sends over UDP, as messages over a WebSocket."""

import asyncio

from aiohttp import web

from headsplat.live.clients import Clients
from headsplat.live.frame import to_message
from headsplat.live.options import InputOptions
from headsplat.live.performer import Performer
from headsplat.live.protocols import PROTOCOLS
from headsplat.live.slot import Pace
from headsplat.live.sources import PhoneSource
from headsplat.runtime.logs import log

_FPS = 60  # messages a second, at most


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
        self._clients = Clients(self.performer.ask)

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
        self._clients.end()
        await self._source.__aexit__()
        log.info("phone: %s", self._source.report())

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Feed one page until it leaves."""
        return await self._clients.serve(request)

    async def _run(self) -> None:
        pace, sequence = Pace(_FPS), 0
        while True:
            await pace.ready()
            arrived = await self._source.slot.take()
            if arrived is None:
                return
            frame = self.performer.next(arrived.value, arrived.seconds)
            message = to_message(frame, sequence, arrived.seconds)
            self._clients.put(message, arrived.seconds)
            pace.sent()
            sequence += 1
