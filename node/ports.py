"""Which port to listen on, and under which address others reach it."""

from __future__ import annotations

import socket

WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
ATTEMPTS = 16


def choose_port(host: str, wanted: int, remembered: int) -> int:
    """The number for both TCP and UDP: the one asked for, else the remembered one while it is free, else a free one.

    A port that was asked for is not tried here: listening says whether it is taken.
    """
    if wanted:
        return wanted
    if remembered and _is_free(host, remembered):
        return remembered
    for _ in range(ATTEMPTS):
        with socket.socket(_family(host), socket.SOCK_STREAM) as probe:
            probe.bind((host, 0))
            port = int(probe.getsockname()[1])
        if _is_free(host, port):
            return port
    return 0


def dialable(host: str) -> str:
    """The address under which others reach a socket bound to `host`: for a wildcard, that of the interface with the default route."""
    if host not in WILDCARDS:
        return host
    elsewhere = "2001:db8::1" if ":" in host else "192.0.2.1"  # documentation addresses (RFC 5737, RFC 3849): nothing is sent
    with socket.socket(_family(host), socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((elsewhere, 9))
        except OSError:
            return "::1" if ":" in host else "127.0.0.1"
        return str(probe.getsockname()[0])


def _is_free(host: str, port: int) -> bool:
    """Whether both transports can have this number now."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(_family(host), kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                return False
    return True


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
