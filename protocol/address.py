"""HOST:PORT <-> (host, port); IPv6 hosts stand in brackets (RFC 3986, section 3.2.2). Nothing is resolved."""

from __future__ import annotations

from protocol.errors import InvalidRequest

MAX_ADDRESS = 255
_FORBIDDEN = frozenset(" \t/\\@?#[]%")


def split_address(text: str) -> tuple[str, int]:
    """Raises `InvalidRequest`. Safe on what a peer sent: the host can be put into a URL."""
    host, colon, port = text.strip().rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    host_is_sound = 0 < len(host) <= MAX_ADDRESS and host.isascii() and host.isprintable() and not _FORBIDDEN & set(host)
    port_is_sound = port.isascii() and port.isdecimal() and len(port) <= 5 and 0 < int(port) < 65_536
    if not colon or not host_is_sound or not port_is_sound or (":" in host) != bracketed:
        raise InvalidRequest(f"'{text[:80]}' is not an address: write HOST:PORT, for instance 192.168.1.20:7337 or [2001:db8::5]:7337.")
    return host, int(port)


def join_address(host: str, port: int) -> str:
    """The inverse of `split_address`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
