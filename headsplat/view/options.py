"""Options of `headsplat view`. Importing this module imports neither numpy nor torch."""

from dataclasses import dataclass
from typing import Any

from headsplat.live.options import TOKEN, InputOptions
from headsplat.live.protocols import PROTOCOLS
from headsplat.options import option, schema_of


@dataclass(frozen=True)
class ViewOptions:
    """Where the page of a subject is served.

    Attributes:
        host: see the helps.
        port: 0 for any.
        token: empty for a random one.
        live: empty, or a key of `PROTOCOLS`.
    """

    host: str = option("127.0.0.1", "address of the page; another one needs a token")
    port: int = option(8642, "TCP port of the page; 0 for any free one", low=0, high=65535)
    token: str = option("", f"secret of the page's address, {TOKEN}; random by default")
    live: str = option(
        "",
        f"protocol of a phone that drives the avatar: {', '.join(PROTOCOLS)}",
        choices=("", *PROTOCOLS),
    )


def phone_schema() -> dict[str, dict[str, Any]]:
    """Option name -> JSON schema of the phone; how a face moves the avatar is up to the page."""
    return {k: v for k, v in schema_of(InputOptions).items() if k not in ("face", "still")}
