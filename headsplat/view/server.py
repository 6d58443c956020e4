"""The local server of a subject's page.

Addresses are `/`, `/<file of the page>`, `/data/<kind>`, `/data/<kind>/<frame id>` and the
WebSocket `/stream`. None is joined to a path: names are looked up in tables, ids are numbers.
"""

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from headsplat.live.clients import CLOSING
from headsplat.live.http import listen
from headsplat.runtime.failures import user_error
from headsplat.runtime.heartbeat import beat
from headsplat.runtime.logs import log
from headsplat.view.contents import PAGE, Contents, page_files
from headsplat.view.options import ViewOptions
from headsplat.view.security import HEADERS, Guard

STREAM = "/stream"
_MOST_REQUESTS, _MOST_CONNECTIONS = 64, 128
_MOST_BODY = 1024  # bytes of what a client sends
_BEAT = 10.0  # seconds
_ID = re.compile(r"[0-9]{1,9}")
_PACKED, _JPEG = "application/octet-stream", "image/jpeg"

Answer = Callable[..., Awaitable[Any]]


class ViewServer:
    """Serves one subject; an asynchronous context manager.

    Args:
        contents: of the subject.
        options: where it listens.
        stream: handler of the live stream's WebSocket, or None without one.

    Attributes:
        address: with the token, once it listens.

    Raises:
        UserError: the address is not allowed or cannot be listened on.
    """

    def __init__(
        self,
        contents: Contents,
        options: ViewOptions,
        stream: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None,
    ) -> None:
        self._contents, self._options, self._stream = contents, options, stream
        self.guard = Guard(options.host, options.token)
        self.address = ""
        self._files = page_files({"payload": "data/avatar", "view": True, "live": bool(stream)})
        self._running = 0
        self._whole: dict[str, tuple[Answer, str]] = {
            "clip": (contents.clip, _PACKED),
            "surface": (contents.surface, _PACKED),
            "avatar": (contents.avatar, _PACKED),
        }
        self._of_frame: dict[str, tuple[Answer, str]] = {
            "image": (contents.image, _JPEG),
            "truth": (contents.ground_truth, _PACKED),
            "mesh": (contents.mesh, _PACKED),
        }

    async def __aenter__(self) -> "ViewServer":
        app = web.Application(middlewares=[self._checked], client_max_size=_MOST_BODY)
        app.router.add_get("/data/state", self._state)
        app.router.add_get("/data/{kind}", self._data)
        app.router.add_get("/data/{kind}/{frame}", self._frame)
        app.router.add_get(STREAM, self._socket)
        app.router.add_get("/{name}", self._page)
        app.router.add_get("/", self._page)
        app.on_response_prepare.append(_add_headers)
        self._runner = web.AppRunner(app, shutdown_timeout=CLOSING)
        await self._runner.setup()
        access, port = self.guard.access, self._options.port
        try:
            self._listening = await listen(self._runner, access, port, _MOST_CONNECTIONS, HEADERS)
        except BaseException:
            await self._runner.cleanup()
            raise
        port = self._listening.sockets[0].getsockname()[1]
        self.address = f"http://{access.address(port)}/?token={access.token}"
        self._beating = asyncio.create_task(_keep_beating())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._beating.cancel()
        self._listening.close()
        self._contents.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._runner.cleanup(), 2 * CLOSING)

    @web.middleware
    async def _checked(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Check a request, bound their number, and turn errors into one line."""
        if self._running >= _MOST_REQUESTS:
            raise web.HTTPServiceUnavailable(text="too many requests at once")
        self._running += 1
        try:
            self.guard.check(request)
            return await handler(request)
        except (web.HTTPException, asyncio.CancelledError, ConnectionError):
            raise
        except Exception as error:
            line = user_error(error)
            if line is None:
                log.exception("a request failed")
                raise web.HTTPInternalServerError(text="the server failed; see its log") from None
            raise web.HTTPNotFound(text=str(line).splitlines()[0]) from None
        finally:
            self._running -= 1

    async def _page(self, request: web.Request) -> web.Response:
        name = request.match_info.get("name", "")
        if name not in self._files:
            raise web.HTTPNotFound(text="no such file")
        text, kind = self._files[name]
        if kind == PAGE and "token" in request.query:
            # The token leaves the address bar and the history.
            moved = web.Response(status=303, headers={"Location": "/"})
            self.guard.admit(moved)
            return moved
        return web.Response(text=text, content_type=kind, charset="utf-8")

    async def _state(self, request: web.Request) -> web.Response:
        del request
        return web.json_response(await self._contents.state())

    async def _data(self, request: web.Request) -> web.Response:
        answer, kind = _entry(self._whole, request)
        return web.Response(body=await answer(), content_type=kind)

    async def _frame(self, request: web.Request) -> web.Response:
        answer, kind = _entry(self._of_frame, request)
        number = request.match_info["frame"]
        if not (number.isascii() and _ID.fullmatch(number)):
            raise web.HTTPNotFound(text="no such frame")
        found = await answer(int(number))
        if found is None:
            raise web.HTTPNotFound(text="there is nothing of this frame yet")
        return web.Response(body=found, content_type=kind)

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        self.guard.check_socket(request)
        if self._stream is None:
            raise web.HTTPNotFound(text="start the command with --live")
        return await self._stream(request)


def _entry(table: dict[str, tuple[Answer, str]], request: web.Request) -> tuple[Answer, str]:
    kind = request.match_info["kind"]
    if kind not in table:
        raise web.HTTPNotFound(text="no such data")
    return table[kind]


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    del request
    response.headers.update(HEADERS)
    response.headers.popall("Server", None)


async def _keep_beating() -> None:
    """Tell the watchdog that a server without visitors is not stuck."""
    while True:
        beat("view")
        await asyncio.sleep(_BEAT)
