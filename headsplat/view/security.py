"""Who may talk to the page's server: checks of `Host`, `Origin` and token, and response headers.

`headsplat.live.access` says why. The token comes once in the address and is then kept in a cookie
that scripts cannot read and that other sites' requests do not carry.
"""

import hmac
import secrets

from aiohttp import web

from headsplat.live.access import Access

# What the page itself needs. Frames of other pages cannot hold it.
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval' blob:; "
    "connect-src 'self' blob: data: ws://127.0.0.1:*; img-src 'self' data: blob:; "
    "media-src data: blob: mediastream:; worker-src blob:; style-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Checks requests.

    Args:
        host: address that is listened on.
        token: secret, or empty for a random one.

    Attributes:
        access: names and token of the server.

    Raises:
        UserError: as `Access`.
    """

    def __init__(self, host: str, token: str) -> None:
        self.access = Access(host, token)
        # Cookies do not know ports, so two servers need two names.
        self._cookie = f"headsplat-{secrets.token_hex(4)}"
        self._session = secrets.token_urlsafe(24)

    def check(self, request: web.Request) -> None:
        """Refuse a request for another host, of another site, or without token and cookie.

        Raises:
            web.HTTPForbidden: it is refused.
        """
        if not self.access.has_own_host(request):
            raise web.HTTPForbidden(text="this name is not the server's")
        foreign = request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")
        # A link on another page may lead here; nothing else may.
        if foreign and not (self.access.has_token(request) and _opens_page(request)):
            raise web.HTTPForbidden(text="requests of other sites are refused")
        if not (self._has_cookie(request) or self.access.has_token(request)):
            raise web.HTTPForbidden(text="open the address that the command printed")

    def check_socket(self, request: web.Request) -> None:
        """Refuse a WebSocket of another page than the server's own.

        A program has no origin, or `null`, and needs the token. Pages that were opened as files
        have `null` too, but `check` refuses them where their browser says `Sec-Fetch-Site`.

        Raises:
            web.HTTPForbidden: it is refused.
        """
        origins = request.headers.getall("Origin", [])
        own = origins == [f"http://{request.headers['Host']}"]
        if not own and not (origins in (["null"], []) and self.access.has_token(request)):
            raise web.HTTPForbidden(text="this origin is not the server's")

    def admit(self, response: web.Response) -> None:
        """Give the browser the cookie."""
        response.set_cookie(self._cookie, self._session, httponly=True, samesite="Strict", path="/")

    def _has_cookie(self, request: web.Request) -> bool:
        given = request.cookies.get(self._cookie, "").encode(errors="replace")
        return hmac.compare_digest(given, self._session.encode())


def _opens_page(request: web.Request) -> bool:
    return request.method == "GET" and request.headers.get("Sec-Fetch-Mode") == "navigate"
