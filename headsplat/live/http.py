"""How the servers of this machine listen: few connections, short requests, quiet refusals."""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from aiohttp import web

from headsplat.live.access import Access
from headsplat.runtime.errors import UserError, shown

_LONGEST_LINE = 4096  # bytes of a request's lines
_IDLE = 30.0  # seconds for a request to arrive, also the first


async def listen(
    runner: web.AppRunner,
    access: Access,
    port: int,
    most: int,
    headers: Mapping[str, str],
) -> asyncio.Server:
    """Listen for a runner that is set up; it cleans up the connections.

    Args:
        runner: of the application.
        access: names the address.
        port: TCP port; 0 for any.
        most: connections at once; further ones are closed.
        headers: of the answer to what is no HTTP.

    Raises:
        UserError: the address cannot be listened on.
    """
    server, loop = runner.server, asyncio.get_running_loop()

    def protocol() -> asyncio.Protocol:
        if len(server.connections) >= most:
            return _Refusing()
        return _Handler(
            server, loop=loop, access_log=None, keepalive_timeout=_IDLE, lingering_time=0,
            max_line_size=_LONGEST_LINE, max_field_size=_LONGEST_LINE,
        ).with_headers(headers)  # fmt: skip

    try:
        return await loop.create_server(protocol, access.host, port)
    except UnicodeError as error:  # of IDNA
        raise UserError(f"--host {shown(access.host)}: is no name or address") from error
    except (OSError, OverflowError) as error:
        raise access.refused(port) from error


class _Handler(web.RequestHandler):
    """Answers what is no HTTP without a log entry, which any program could repeat for ever."""

    __slots__ = ("_headers",)

    def with_headers(self, headers: Mapping[str, str]) -> "_Handler":
        """Itself, with headers of that answer."""
        # An own name hides which software this is, and its version.
        self._headers = {"Server": "headsplat", **headers}
        return self

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to a request that failed."""
        if status != HTTPStatus.BAD_REQUEST or request.writer.output_size > 0:
            return super().handle_error(request, status, exc, message)
        answer = web.Response(status=status, text="not HTTP", headers=self._headers)
        answer.force_close()
        return answer


class _Refusing(asyncio.Protocol):
    """Closes a connection at once."""

    def connection_made(self, transport: Any) -> None:
        """Close it."""
        transport.abort()
