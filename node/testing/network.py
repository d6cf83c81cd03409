"""The simulated network: one seeded rule decides, packet by packet, what arrives, when, and how often.

Hosts are names or addresses, as the code under test uses them. A host may be cut off from others (`partition`), stop reading and
answering while its links stay open (`hang`: SIGSTOP, a swapping machine), or die (`crash`: its links break). Datagrams that meet
such a host vanish; links hold what they carry until the path is back (`node.links.memory`).
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import random
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from protocol.errors import LocalError

Address = tuple[str, int]
"""(host, port)."""

MAX_UDP = 65_507
"""Bytes of the largest datagram over IPv4 (RFC 768)."""
RETRANSMIT_S = 0.2
"""What a lost segment of a reliable stream costs: Linux's smallest retransmission timeout."""
MAX_RETRANSMITS = 8
FIRST_FREE_PORT = 49_152
"""Port 0 means the first free one from here on (RFC 6335, dynamic ports)."""


class Packet(NamedTuple):
    """One datagram, or one message of a link."""

    source: Address
    target: Address
    data: bytes


Rule = Callable[[random.Random, Packet], Sequence[float]]
"""A packet's fate: the delay in seconds of each copy that arrives. Empty: lost. Two: duplicated."""


def lossy(*, loss: float = 0.0, duplicate: float = 0.0, latency: tuple[float, float] = (0.005, 0.05)) -> Rule:
    """Independent loss and duplication, uniform latency in seconds one way (so packets overtake each other)."""
    low, high = latency

    def rule(rng: random.Random, packet: Packet) -> Sequence[float]:
        if loss and rng.random() < loss:
            return ()
        first = low + (high - low) * rng.random()
        if duplicate and rng.random() < duplicate:
            return (first, low + (high - low) * rng.random())
        return (first,)

    return rule


class SimNetwork:
    """Every endpoint and every packet of one simulation. Works under any loop; only a virtual one makes it repeatable."""

    def __init__(self, seed: int) -> None:
        self.rule: Rule = lossy()
        """May be replaced at any time."""
        self.sent = 0
        self.lost = 0
        self._random = random.Random(f"network {seed}")
        self._hash = hashlib.blake2b(digest_size=16)
        self._datagrams: dict[Address, SimDatagramTransport] = {}
        self._hung: set[str] = set()
        self._crashed: set[str] = set()
        self._side: dict[str, int] = {}
        self._watchers: dict[object, Callable[[], None]] = {}
        self.listeners: dict[Address, object] = {}
        """Who accepts links where; `node.links.memory` owns the values."""

    # ---- faults ---------------------------------------------------------------------------------------------------

    def partition(self, *groups: Iterable[str]) -> None:
        """Hosts of different groups no longer hear each other; hosts not named form one more group."""
        self._side = {host: side for side, group in enumerate(groups, 1) for host in group}
        self._changed()

    def heal(self) -> None:
        """End the partition."""
        self.partition()

    def hang(self, host: str) -> None:
        """It hears and says nothing; its links stay open."""
        self._hung.add(host)
        self._changed()

    def wake(self, host: str) -> None:
        """End of `hang`."""
        self._hung.discard(host)
        self._changed()

    def crash(self, host: str) -> None:
        """Its links break and its packets vanish until `restart`."""
        self._crashed.add(host)
        self._changed()

    def restart(self, host: str) -> None:
        """End of `crash`; whatever ran there has to be started anew."""
        self._crashed.discard(host)
        self._changed()

    def crashed(self, host: str) -> bool:
        return host in self._crashed

    def severed(self, one: str, other: str) -> bool:
        """Nothing passes between these hosts now."""
        if one in self._crashed or other in self._crashed or one in self._hung or other in self._hung:
            return True
        return bool(self._side) and self._side.get(one, 0) != self._side.get(other, 0)

    def watch(self, owner: object, callback: Callable[[], None]) -> None:
        """Call back after every change of partition, hang or crash, until `unwatch`."""
        self._watchers[owner] = callback

    def unwatch(self, owner: object) -> None:
        self._watchers.pop(owner, None)

    def _changed(self) -> None:
        for callback in list(self._watchers.values()):
            callback()

    # ---- packets --------------------------------------------------------------------------------------------------

    def trace(self) -> str:
        """Digest of every packet sent so far: time, addresses, bytes, fate. Equal seeds give equal traces."""
        return self._hash.hexdigest()

    def send(self, packet: Packet) -> None:
        """Give a datagram to the network."""
        severed = self.severed(packet.source[0], packet.target[0])
        fate = () if severed else self.rule(self._random, packet)
        self._note(packet, fate)
        loop = asyncio.get_running_loop()
        for delay in fate:
            loop.call_later(delay, self._arrive, packet)

    def carry(self, packet: Packet) -> float:
        """Delay in seconds of one message of a reliable, ordered stream: loss costs retransmissions, never the message."""
        waited = 0.0
        for _ in range(MAX_RETRANSMITS):
            fate = self.rule(self._random, packet)
            self._note(packet, fate)
            if fate:
                return waited + min(fate)
            waited += RETRANSMIT_S
        return waited

    def _note(self, packet: Packet, fate: Sequence[float]) -> None:
        self.sent += 1
        self.lost += not fate
        (source, source_port), (target, target_port), data = packet
        self._hash.update(struct.pack(f"!d{len(fate)}d", asyncio.get_running_loop().time(), *fate))
        self._hash.update(f"|{source}:{source_port}|{target}:{target_port}|{len(data)}|".encode())
        self._hash.update(data)

    def _arrive(self, packet: Packet) -> None:
        endpoint = self._datagrams.get(packet.target)
        if endpoint is not None and not self.severed(packet.source[0], packet.target[0]):
            endpoint.protocol.datagram_received(packet.data, packet.source)

    # ---- endpoints ------------------------------------------------------------------------------------------------

    def open_datagrams(self, protocol: asyncio.BaseProtocol, address: Address) -> SimDatagramTransport:
        """Bind a datagram protocol. Raises OSError when the address is in use."""
        if not isinstance(protocol, asyncio.DatagramProtocol):
            raise LocalError(f"{type(protocol).__name__} is no datagram protocol")
        bound = self.free_address(address, self._datagrams)
        transport = SimDatagramTransport(self, bound, protocol)
        self._datagrams[bound] = transport
        protocol.connection_made(transport)
        return transport

    def close_datagrams(self, address: Address) -> None:
        self._datagrams.pop(address, None)

    @staticmethod
    def free_address(address: Address, taken: dict[Address, Any]) -> Address:
        """The address itself, or with a free port for port 0. Raises OSError when it is in use."""
        host, port = address[0], address[1]
        if host in ("0.0.0.0", "::", ""):  # noqa: S104  # this is the refusal
            raise LocalError("the simulated network has no wildcard address: bind to the node's own host")
        if port == 0:
            port = next(p for p in range(FIRST_FREE_PORT, 65_536) if (host, p) not in taken)
        if (host, port) in taken:
            raise OSError(errno.EADDRINUSE, f"{host}:{port} is in use")
        return host, port


class SimDatagramTransport(asyncio.DatagramTransport):
    """A datagram socket on the simulated network."""

    def __init__(self, network: SimNetwork, address: Address, protocol: asyncio.DatagramProtocol) -> None:
        super().__init__({"sockname": address})
        self.protocol = protocol
        self._network = network
        self._address = address
        self._closed = False

    def sendto(self, data: Any, addr: Any = None) -> None:
        if self._closed or addr is None:
            return
        if len(data) > MAX_UDP:
            self.protocol.error_received(OSError(errno.EMSGSIZE, f"a datagram of {len(data)} bytes"))
            return
        self._network.send(Packet(self._address, (addr[0], addr[1]), bytes(data)))

    def is_closing(self) -> bool:
        return self._closed

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._network.close_datagrams(self._address)
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()
