"""Where a join line is to be typed: an address that only this machine can dial is no use on another."""

from __future__ import annotations

import ipaddress

from protocol.address import split_address


def where_to_join(address: str) -> str:
    """`address`: HOST:PORT of the node to join. Raises `InvalidRequest` for anything else."""
    host, _ = split_address(address)
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if loopback:
        return f"In another terminal (other machines cannot dial {host}: start this node with --host 0.0.0.0, or --advertise HOST:PORT)"
    return "On another machine"
