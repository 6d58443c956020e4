"""Addresses of this machine and of a phone, and the UDP socket between them."""

import ipaddress
import socket

from headsplat.runtime.errors import UserError, shown

LOCAL = "127.0.0.1"
ANY = ("0.0.0.0", "::")  # all addresses of this machine
_BUFFER = 1 << 18  # bytes that the kernel keeps
# Of a network that exists on paper only (RFC 5737).
_FAR, _SOME_PORT = "192.0.2.1", 9


def is_number(host: str) -> bool:
    """Whether a host is an IP address, not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether an address or name is this machine's own."""
    return host == "localhost" or (is_number(host) and ipaddress.ip_address(host).is_loopback)


def own_address(phone: str | None) -> str:
    """Address of this machine in the network of a phone, or of the way out; empty if unknown.

    The system chooses it as it would for a packet; none is sent.
    """
    other = phone or _FAR
    family = socket.AF_INET6 if ":" in other else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as made:
            made.connect((other, _SOME_PORT))
            return made.getsockname()[0]
    except OSError:
        return ""


def family_of(text: str) -> tuple[socket.AddressFamily, str]:
    """Family and canonical form of a phone's IP address.

    Raises:
        UserError: it is none.
    """
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return family, socket.inet_ntop(family, socket.inet_pton(family, text))
        except (OSError, ValueError):
            continue
    raise UserError(f"--phone '{shown(text)}': give the IP address that the phone shows")


def udp_socket(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    """A socket that listens, without waiting.

    Raises:
        UserError: the address cannot be listened on.
    """
    made = socket.socket(family, socket.SOCK_DGRAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        made.bind((host, port))
    except (OSError, OverflowError) as error:
        made.close()
        why = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"UDP port {port} of {shown(host)} cannot be listened on ({why}); end the other "
            "program that uses it, or give another --udp-port"
        ) from error
    return made
