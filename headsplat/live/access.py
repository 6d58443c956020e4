"""Who may talk to a server of this machine: the names and the secret that requests must carry.

A page of another site can send requests to this machine, and a foreign name can be pointed at its
address (DNS rebinding). So a request needs one of the server's own names and its token.
"""

import hmac
import re
import secrets
from urllib.parse import urlsplit

from aiohttp import web

from headsplat.live.addresses import ANY, LOCAL, is_loopback, is_number
from headsplat.live.options import LEAST_TOKEN, LONGEST_TOKEN, TOKEN
from headsplat.runtime.errors import UserError, shown

# Letters that an address holds as they are.
_TOKEN = re.compile(rf"[A-Za-z0-9_-]{{{LEAST_TOKEN},{LONGEST_TOKEN}}}")


class Access:
    """Names and token of one server.

    Args:
        host: address that is listened on.
        token: secret, or empty for a random one.

    Attributes:
        host: that address; `LOCAL` for localhost.
        token: the secret.

    Raises:
        UserError: others can reach the address and no token is given, or the token is short or
            has other characters than an address.
    """

    def __init__(self, host: str, token: str) -> None:
        if not is_loopback(host) and not token:
            raise UserError(
                f"--host {shown(host)}: others can reach it; give a secret with --token"
            )
        if token and not _TOKEN.fullmatch(token):
            raise UserError(f"--token: give {TOKEN}")
        # The name may mean two addresses, and pages may open this one alone.
        self.host = LOCAL if host == "localhost" else host
        self.token = token or secrets.token_urlsafe(24)

    def address(self, port: int) -> str:
        """Host and port as in an address of the web."""
        return f"[{self.host}]:{port}" if ":" in self.host else f"{self.host}:{port}"

    def refused(self, port: int) -> UserError:
        """The error of a TCP port that cannot be listened on."""
        return UserError(
            f"TCP port {port} of {shown(self.host)} cannot be listened on; end the other program "
            "that uses it, or give another --port"
        )

    def has_own_host(self, request: web.Request) -> bool:
        """Whether a request names this server once, and no other."""
        hosts = request.headers.getall("Host", [])
        return len(hosts) == 1 and self.is_own(f"//{hosts[0]}")

    def is_own(self, address: str) -> bool:
        """Whether an address is this server's or this machine's: `//host:port` or an origin.

        A name that was pointed at the machine is not. Digits cannot be such a name.
        """
        name = _name(address)
        if name is None:
            return False
        own = self.host.lower()
        return is_loopback(name) or name == own or (own in ANY and is_number(name))

    def has_token(self, request: web.Request) -> bool:
        """Whether the address of a request holds the token."""
        given = request.query.get("token", "").encode(errors="replace")
        return hmac.compare_digest(given, self.token.encode())


def _name(address: str) -> str | None:
    """Host of an address in lower case; None if there is more than host and port, or it is bad."""
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        return None
    if parts.username is not None or parts.path or parts.query or parts.fragment:
        return None
    return parts.hostname
