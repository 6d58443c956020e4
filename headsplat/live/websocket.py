"""Output to browsers and programs over a WebSocket: motion messages, JPEG or raw images.

It listens on this machine only, unless a token of the user's own is given with another address. A
connection needs the token, an own `Host`, and as `Origin` nothing, `null` (a page opened as a file)
or a page of this machine. Each client has a slot for the newest frame: a slow one gets fewer.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable, Sequence

import numpy as np
from aiohttp import web

from headsplat.frames.images import encode_jpeg
from headsplat.live.access import Access
from headsplat.live.addresses import LOCAL
from headsplat.live.clients import CLOSING, Clients
from headsplat.live.http import listen
from headsplat.live.options import JPEG, MESSAGES, OutputOptions
from headsplat.live.slot import Latency
from headsplat.runtime.logs import log

_PATH = "/stream"
_MOST_CONNECTIONS = 32


class WebSocketOutput:
    """A WebSocket server; an asynchronous context manager.

    Args:
        options: address, token, and what is sent.
        size: width and height of images.
        arguments: none.

    Attributes:
        on_calibrate: called when a client asks for a calibration.
        latency: of frames that were sent.
        address: with the token, once it listens.

    Raises:
        UserError: as `Access`, or the port cannot be listened on.
    """

    def __init__(
        self, options: OutputOptions, size: tuple[int, int], arguments: Sequence[str] = ()
    ) -> None:
        self._options, self._size = options, size
        self._access = Access(options.host, options.token)
        self.latency, self.address = Latency(), ""
        self.on_calibrate: Callable[[], None] = lambda: None
        self._clients = Clients(lambda: self.on_calibrate(), self._first, self.latency.add)
        self._last: bytes | None = None

    def encode(self, image: np.ndarray) -> bytes:
        """JPEG or raw bytes of an image (H, W, 3) uint8."""
        if self._options.send == JPEG:
            return encode_jpeg(image, self._options.quality)
        return image.tobytes()

    async def send(self, data: bytes, arrived: float | None) -> None:
        """Give every client the newest frame, which follows from what arrived at a time."""
        self._last = data
        self._clients.put(data, arrived)

    def report(self) -> str:
        """What clients got, and how soon."""
        return str(self.latency) if self.latency.count else "nothing; no client was connected"

    def hurry(self) -> None:
        """Nothing: its end is quick."""

    async def __aenter__(self) -> "WebSocketOutput":
        app = web.Application()
        app.router.add_get(_PATH, self._serve)
        app.on_response_prepare.append(_without_server)
        self._runner = web.AppRunner(app, shutdown_timeout=CLOSING)
        await self._runner.setup()
        access, port = self._access, self._options.port
        try:
            self._listening = await listen(self._runner, access, port, _MOST_CONNECTIONS, {})
        except BaseException:
            await self._runner.cleanup()
            raise
        port = self._listening.sockets[0].getsockname()[1]
        self.address = f"ws://{access.address(port)}{_PATH}?token={access.token}"
        if self._options.send == MESSAGES:
            log.info("on the avatar's web page, open Live stream and connect to %s", self.address)
            if access.host != LOCAL:
                log.info("an avatar's page opens addresses of %s only", LOCAL)
        else:
            log.info("%s images, %d x %d, at %s", self._options.send, *self._size, self.address)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listening.close()
        self._clients.end()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._runner.cleanup(), 2 * CLOSING)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        """Refuse a request from another site, for another host, or without the token."""
        if not self._access.has_own_host(request):
            raise web.HTTPForbidden(text="Host")
        origin = request.headers.get("Origin", "null")
        if origin != "null" and not self._access.is_own(origin):
            raise web.HTTPForbidden(text="Origin")
        if not self._access.has_token(request):
            raise web.HTTPForbidden(text="token")
        return await self._clients.serve(request)

    def _first(self) -> list[str | bytes]:
        """The size of images, and the last frame, so that a client sees one at once."""
        found: list[str | bytes] = [] if self._last is None else [self._last]
        if self._options.send == MESSAGES:
            return found
        width, height = self._size
        return [json.dumps({"send": self._options.send, "width": width, "height": height}), *found]


async def _without_server(request: web.Request, response: web.StreamResponse) -> None:
    del request
    response.headers.popall("Server", None)
