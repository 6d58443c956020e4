"""Output to browsers and programs over a WebSocket: motion messages, JPEG or raw images.

It listens on this machine only, unless a token of the user's own is given with another address. A
connection needs the token, an own `Host`, and as `Origin` nothing, `null` (a page opened as a file)
or a page of this machine. Each client has a slot for the newest frame: a slow one gets fewer.
"""

import asyncio
import contextlib
import hmac
import ipaddress
import json
import secrets
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import numpy as np
from aiohttp import WSMsgType, web

from headsplat.frames.images import encode_jpeg
from headsplat.live.options import JPEG, MESSAGES, OutputOptions
from headsplat.live.slot import Arrived, Latency, Slot
from headsplat.runtime.errors import UserError, shown
from headsplat.runtime.logs import log

CALIBRATE = "calibrate"  # text that a client sends to have the neutral face taken again
_PATH = "/stream"
_ANY = ("0.0.0.0", "::")  # all addresses of this machine
_MOST_CLIENTS, _LONGEST_TEXT, _HEARTBEAT = 8, 256, 20.0
_LEAST_TOKEN = 16  # characters
_CLOSING = 0.5  # seconds


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
        UserError: another address than this machine's without a token, or a short token.
    """

    def __init__(
        self, options: OutputOptions, size: tuple[int, int], arguments: Sequence[str] = ()
    ) -> None:
        if not _is_loopback(options.host) and not options.token:
            raise UserError(
                f"--host {shown(options.host)}: others can reach it; give a secret with --token"
            )
        if options.token and len(options.token) < _LEAST_TOKEN:
            raise UserError(f"--token: shorter than {_LEAST_TOKEN} characters; give a longer one")
        self._options, self._size = options, size
        self._token = options.token or secrets.token_urlsafe(24)
        self.on_calibrate: Callable[[], None] = lambda: None
        self.latency, self.address = Latency(), ""
        self._clients: set[Slot] = set()
        self._last: bytes | None = None

    def encode(self, image: np.ndarray) -> bytes:
        """JPEG or raw bytes of an image (H, W, 3) uint8."""
        if self._options.send == JPEG:
            return encode_jpeg(image, self._options.quality)
        return image.tobytes()

    async def send(self, data: bytes, arrived: float | None) -> None:
        """Give every client the newest frame, which follows from what arrived at a time."""
        self._last = data
        for slot in self._clients:
            slot.put(Arrived((data, arrived), 0.0))

    async def __aenter__(self) -> "WebSocketOutput":
        app = web.Application()
        app.router.add_get(_PATH, self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_CLOSING)
        await self._runner.setup()
        host = self._options.host
        site = web.TCPSite(self._runner, host, self._options.port, backlog=_MOST_CLIENTS)
        try:
            await site.start()
        except (OSError, OverflowError) as error:
            await self._runner.cleanup()
            raise UserError(
                f"TCP port {self._options.port} of {shown(host)} cannot be listened on; end the "
                "other program that uses it, or give another --port"
            ) from error
        port = self._runner.addresses[0][1]
        shown_host = f"[{host}]" if ":" in host else host
        self.address = f"ws://{shown_host}:{port}{_PATH}?token={self._token}"
        log.info("%s at %s", self._options.send, self.address)
        return self

    async def __aexit__(self, *_: object) -> None:
        for slot in self._clients:
            slot.end()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._runner.cleanup(), 2 * _CLOSING)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self._check(request)
        if len(self._clients) >= _MOST_CLIENTS:
            raise web.HTTPServiceUnavailable(text="too many clients")
        # Compression would cost more time than it saves on this machine.
        socket = web.WebSocketResponse(
            heartbeat=_HEARTBEAT, max_msg_size=_LONGEST_TEXT, compress=False, timeout=_CLOSING
        )
        await socket.prepare(request)
        slot = Slot()
        self._clients.add(slot)
        sending = asyncio.create_task(self._feed(socket, slot))
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT and message.data == CALIBRATE:
                    self.on_calibrate()
        finally:
            self._clients.discard(slot)
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sending
        return socket

    async def _feed(self, socket: web.WebSocketResponse, slot: Slot) -> None:
        """Send a client the newest frames until it leaves."""
        with contextlib.suppress(ConnectionError):
            if self._options.send != MESSAGES:
                width, height = self._size
                facts = {"send": self._options.send, "width": width, "height": height}
                await socket.send_str(json.dumps(facts))
            if self._last is not None:
                await socket.send_bytes(self._last)
            while (newest := await slot.take()) is not None:
                data, arrived = newest.value
                await socket.send_bytes(data)
                if arrived is not None:
                    self.latency.add(arrived)
            await socket.close()

    def _check(self, request: web.Request) -> None:
        """Refuse a request from another site, for another host, or without the token."""
        if not self._is_own(_name(f"//{request.headers.get('Host', '')}")):
            raise web.HTTPForbidden(text="Host")
        origin = request.headers.get("Origin", "null")
        if origin != "null" and not self._is_own(_name(origin)):
            raise web.HTTPForbidden(text="Origin")
        token = request.query.get("token", "").encode(errors="replace")
        if not hmac.compare_digest(token, self._token.encode()):
            raise web.HTTPForbidden(text="token")

    def _is_own(self, host: str | None) -> bool:
        """Whether a name is this server's; a name that was rebound to its address is not."""
        if host is None:
            return False
        own = self._options.host
        return _is_loopback(host) or host == own or (own in _ANY and _is_address(host))


def _name(address: str) -> str | None:
    """Host of an address, without its port."""
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)
