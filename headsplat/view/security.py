"""Who may talk to the page's server: checks of `Host`, `Origin` and token, and response headers.

A page of another site can send requests to this machine, and a name can be pointed at its address
(DNS rebinding). So each request needs an own `Host` and the token, and each WebSocket an own
`Origin`. The token comes once in the address and is then kept in a cookie that scripts cannot read
and that other sites' requests do not carry.
"""

import hmac
import ipaddress
import secrets
from urllib.parse import urlsplit

from aiohttp import web

from headsplat.runtime.errors import UserError, shown
from headsplat.view.options import LEAST_TOKEN

_ANY = ("0.0.0.0", "::")  # all addresses of this machine
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
        token: the secret.

    Raises:
        UserError: others can reach the address and no token is given, or it is short.
    """

    def __init__(self, host: str, token: str) -> None:
        if not is_loopback(host) and not token:
            raise UserError(
                f"--host {shown(host)}: others can reach it; give a secret with --token"
            )
        if token and (len(token) < LEAST_TOKEN or not token.isascii() or not token.isprintable()):
            raise UserError(f"--token: give {LEAST_TOKEN} letters and digits at least")
        self._host = host
        self.token = token or secrets.token_urlsafe(24)
        # Cookies do not know ports, so two servers need two names.
        self._cookie = f"headsplat-{secrets.token_hex(4)}"
        self._session = secrets.token_urlsafe(24)

    def check(self, request: web.Request) -> None:
        """Refuse a request for another host, of another site, or without token and cookie.

        Raises:
            web.HTTPForbidden: it is refused.
        """
        hosts = request.headers.getall("Host", [])
        if len(hosts) != 1 or not self._is_own(_name(f"//{hosts[0]}")):
            raise web.HTTPForbidden(text="this name is not the server's")
        foreign = request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")
        # A link on another page may lead here; nothing else may.
        if foreign and not (self.brings_token(request) and _opens_page(request)):
            raise web.HTTPForbidden(text="requests of other sites are refused")
        if not (self._has_cookie(request) or self.brings_token(request)):
            raise web.HTTPForbidden(text="open the address that the command printed")

    def check_socket(self, request: web.Request) -> None:
        """Refuse a WebSocket of another page than the server's own.

        A page that was opened as a file has the origin `null`, and needs the token.

        Raises:
            web.HTTPForbidden: it is refused.
        """
        origins = request.headers.getall("Origin", [])
        own = origins == [f"http://{request.headers['Host']}"]
        if not own and not (origins in (["null"], []) and self.brings_token(request)):
            raise web.HTTPForbidden(text="this origin is not the server's")

    def brings_token(self, request: web.Request) -> bool:
        """Whether the address holds the token."""
        given = request.query.get("token", "").encode(errors="replace")
        return hmac.compare_digest(given, self.token.encode())

    def admit(self, response: web.Response) -> None:
        """Give the browser the cookie."""
        response.set_cookie(self._cookie, self._session, httponly=True, samesite="Strict", path="/")

    def _has_cookie(self, request: web.Request) -> bool:
        given = request.cookies.get(self._cookie, "").encode(errors="replace")
        return hmac.compare_digest(given, self._session.encode())

    def _is_own(self, name: str | None) -> bool:
        if name is None:
            return False
        if is_loopback(self._host):
            return is_loopback(name)
        # An address of digits cannot be a name that was pointed elsewhere.
        return name == self._host or (self._host in _ANY and _is_address(name))


def is_loopback(host: str) -> bool:
    """Whether an address or name is this machine's own."""
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _opens_page(request: web.Request) -> bool:
    return request.method == "GET" and request.headers.get("Sec-Fetch-Mode") == "navigate"


def _name(address: str) -> str | None:
    """Host of an address without its port, None of a malformed one."""
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        return None
    if parts.username is not None or parts.path or parts.query or parts.fragment:
        return None
    return parts.hostname


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
