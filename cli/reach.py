"""What `moot doctor` finds out about other machines: is a bootstrap reachable, by TCP and by UDP, and do its clock and ours agree?

TCP and UDP share one port number and fail apart: links (TLS) need the first, the DHT the second, and firewalls like to pass only one.
The clock is compared with the `Date` header that a node's listener sends to anybody, and with the files in the data directory.
"""

from __future__ import annotations

import email.utils
import http.client
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cli.checks import Finding
from protocol.errors import MootError
from protocol.identity import SwarmId, load_certificate, swarm_id_of
from protocol.session import Challenge, decode, opening_datagram
from protocol.token import parse_token

CONNECT_S = 3.0
UDP_S = 1.0
UDP_TRIES = 3
SLIGHT_S, GRAVE_S = 5.0, 60.0
"""A difference that is worth a word; one with which tokens, certificates and records go wrong."""


def check_bootstrap(host: str, port: int, swarm: SwarmId | None) -> Iterator[Finding]:
    """TCP, UDP and the clock of one address. `swarm`: whose nodes answer our datagrams; None when we cannot know."""
    greeting = _greet(host, port)
    yield _judge_tcp(host, port, greeting)
    yield _check_udp(host, port, swarm)
    if greeting.skew_s is not None:
        yield _judge_clock(f"clock against {host}", greeting.skew_s, "that node's clock")


def check_clock(directory: Path) -> Finding:
    """Files from the future mean that this clock was set back since."""
    try:
        newest = max((path.stat().st_mtime for path in directory.iterdir()), default=0.0)
    except OSError:
        return Finding("clock", "skipped", "There is nothing here yet to compare the clock with.")
    return _judge_clock("clock", max(0.0, newest - _now()), "the newest file in the data directory")


def is_token(text: str) -> bool:
    """Whether it has the form of a join token."""
    try:
        parse_token(text)
    except MootError:
        return False
    return True


def swarm_of(directory: Path, token: str | None) -> SwarmId | None:
    """The swarm that this node belongs to, or is invited to."""
    try:
        if token is not None:
            return parse_token(token).swarm_id
    except MootError:
        return None
    root = root_of(directory)
    return swarm_id_of(root) if root is not None else None


def root_of(directory: Path) -> bytes | None:
    """The root certificate (DER) of the swarm that this node belongs to; None where there is none that can be read."""
    try:
        root = ssl.PEM_cert_to_DER_cert((directory / "root.crt").read_text(encoding="ascii").strip())
        load_certificate(root)
    except (OSError, ValueError, MootError):
        return None
    return root


@dataclass(frozen=True, slots=True)
class _Greeting:
    """How a listener met us."""

    problem: str = ""
    remedy: str = ""
    skew_s: float | None = None


def _greet(host: str, port: int) -> _Greeting:
    """TLS without a certificate, as a joiner does before it has one, and one request that nobody serves."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing secret is sent, and nothing said is believed but the time
    connection = http.client.HTTPSConnection(host, port, timeout=CONNECT_S, context=context)
    try:
        connection.request("GET", "/")
        date = connection.getresponse().getheader("Date")
    except socket.gaierror:
        return _Greeting(f"there is no machine named {host}", "Check the name.")
    except TimeoutError:
        return _Greeting("nothing answers", "Check the address, and that a firewall lets TCP through.")
    except ConnectionRefusedError:
        return _Greeting("nothing listens there", "Check the port, and that the daemon runs: `moot status` on that machine.")
    except (ssl.SSLError, http.client.HTTPException):
        return _Greeting("what listens there is no moot node", "Check the port: it is the one that `moot up` prints as address.")
    except OSError as error:
        return _Greeting(f"{error.strerror or error}", "Check the address and the network.")
    finally:
        connection.close()
    return _Greeting(skew_s=_skew(date))


def _judge_tcp(host: str, port: int, greeting: _Greeting) -> Finding:
    name = f"bootstrap {host}:{port} by TCP"
    if greeting.problem:
        return Finding(name, "failed", f"Not reached: {greeting.problem}.", greeting.remedy)
    return Finding(name, "ok", "A node listens there.")


def _check_udp(host: str, port: int, swarm: SwarmId | None) -> Finding:
    """Knock as the DHT does; a node of our swarm answers with a cookie, anybody else not at all."""
    name = f"bootstrap {host}:{port} by UDP"
    if swarm is None:
        return Finding(name, "skipped", "Nodes answer only their own swarm: give --token, or join first.")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as knocking:
            knocking.settimeout(UDP_S)
            knocking.connect(address)
            if _knock(knocking, opening_datagram(swarm, bytes(8), bytes(32))):
                return Finding(name, "ok", "A node of this swarm answers.")
    except ConnectionRefusedError:
        return Finding(name, "failed", "Nothing listens there.", "Check the port, and that the daemon runs there.")
    except OSError as error:
        return Finding(name, "failed", f"Not reached: {error.strerror or error}.", "Check the address and the network.")
    remedy = "Let UDP through the firewall (the DHT needs it), and check that the token is of that node's swarm."
    return Finding(name, "failed", f"{UDP_TRIES} datagrams, no answer.", remedy)


def _knock(knocking: socket.socket, opening: bytes) -> bool:
    for _ in range(UDP_TRIES):
        knocking.send(opening)
        try:
            return isinstance(decode(knocking.recv(2_048)), Challenge)
        except (TimeoutError, MootError):
            continue
    return False


def _judge_clock(name: str, skew_s: float, reference: str) -> Finding:
    if abs(skew_s) < SLIGHT_S:
        return Finding(name, "ok", f"It agrees with {reference}.")
    way = "behind" if skew_s > 0 else "ahead of"
    text = f"This machine's clock is {abs(skew_s):.0f} s {way} {reference}."
    grave = abs(skew_s) >= GRAVE_S
    return Finding(name, "failed" if grave else "warning", text, "Switch on time synchronisation (NTP) on both machines.")


def _skew(date: str | None) -> float | None:
    """Seconds that another clock is ahead of ours; a `Date` header (RFC 9110, section 6.6.1) is exact to a second."""
    try:
        return None if date is None else email.utils.parsedate_to_datetime(date).timestamp() + 0.5 - _now()
    except ValueError:
        return None


def _now() -> float:
    return time.time()  # noqa: TID251 - the doctor examines this very clock
