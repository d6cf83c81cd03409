"""Getting in, and getting back in: addresses worth greeting, tried for ever with back-off.

Bootstrap addresses are never given up; after one answered it is greeted again every few minutes, which is what heals a partition.
Contacts from the last run, contacts lost since, and members that the overlay names wait in the same line, bounded in number.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections import OrderedDict
from dataclasses import dataclass

from kademlia.node import Node

from node.dht.lookup import NodeCrawl
from node.dht.rpc import KadProtocol
from node.dht.sessions import Address
from node.dht.table import KSIZE
from node.runtime import Runtime
from protocol.address import split_address
from protocol.errors import PeerError, Unreachable
from protocol.identity import NodeId

FIRST_DELAY_S = 0.5
MAX_DELAY_S = 60.0
REJOIN_S = 300.0
MAX_LEARNED = 128
GREETINGS_AT_ONCE = 16
NAMED_AGAIN_S = 5.0
"""Whoever is named again while it waits is greeted this long after the last time, and not sooner."""
RESOLVE_S = 5.0
LOOKUP_S = 5.0


@dataclass(slots=True)
class _Candidate:
    host: str
    port: int
    expect: NodeId | None
    """None: a bootstrap address; whichever member is there will do."""
    due: float
    delay: float = FIRST_DELAY_S
    settled: bool = False
    """It answered when it was last greeted."""
    tried_at: float = float("-inf")


class Join:
    """Owns the line of candidates. `joined`: a look-up of our own id was done where a peer answered."""

    def __init__(self, runtime: Runtime, protocol: KadProtocol) -> None:
        self.joined = False
        self.first_round = asyncio.Event()
        """Set once the first candidates have been greeted, whatever came of it, and the look-up is done where one answered."""
        self._runtime = runtime
        self._protocol = protocol
        self._bootstraps: dict[str, _Candidate] = {}
        self._learned: OrderedDict[NodeId, _Candidate] = OrderedDict()
        self._look_up = False
        self._wake = asyncio.Event()

    def add_bootstrap(self, address: str) -> None:
        """HOST:PORT. Raises `InvalidRequest`."""
        host, port = split_address(address)
        self._bootstraps.setdefault(address, _Candidate(host, port, None, self._runtime.monotonic()))
        self._wake.set()

    def add(self, node: Node, delay: float = 0.0) -> None:
        """A member that may be at this address; greet it in `delay` seconds."""
        node_id, now = NodeId(node.id), self._runtime.monotonic()
        if node_id == self._protocol.source_node.id or self._protocol.router.get(node_id) is not None:
            return
        waiting = self._learned.get(node_id)
        if waiting is not None and (waiting.host, waiting.port) == (node.ip, node.port):
            waiting.due = min(waiting.due, max(now, waiting.tried_at + NAMED_AGAIN_S))
        else:
            self._learned[node_id] = _Candidate(node.ip, node.port, node_id, now + delay)
        if len(self._learned) > MAX_LEARNED:
            self._learned.popitem(last=False)
        self._wake.set()

    def forget(self, node_id: NodeId) -> None:
        self._learned.pop(node_id, None)

    def lost(self, node: Node) -> None:
        """A contact did not answer: it may come back."""
        self.add(node, FIRST_DELAY_S)

    def met(self, node: Node) -> None:
        """A member spoke first; where we know nobody else that is a way in too."""
        self._learned.pop(NodeId(node.id), None)
        if not self.joined:
            self._look_up = True
            self._wake.set()

    async def run(self) -> None:
        """Greet whoever is due, for ever."""
        while True:
            self._wake.clear()
            now = self._runtime.monotonic()
            due = [candidate for candidate in self._candidates() if candidate.due <= now][:GREETINGS_AT_ONCE]
            async with asyncio.TaskGroup() as group:
                for candidate in due:
                    group.create_task(self._greet(candidate))
            if self._look_up:
                await self._look_up_self()
            self.first_round.set()
            await self._sleep()

    def _candidates(self) -> list[_Candidate]:
        return [*self._bootstraps.values(), *self._learned.values()]

    async def _sleep(self) -> None:
        """Until somebody is due or something new is known."""
        due = min((candidate.due for candidate in self._candidates()), default=None)
        try:
            async with asyncio.timeout(None if due is None else max(0.0, due - self._runtime.monotonic())):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _greet(self, candidate: _Candidate) -> None:
        candidate.tried_at = self._runtime.monotonic()
        try:
            who = await self._protocol.greet(await self._resolve(candidate), candidate.expect)
        except PeerError:
            candidate.settled = False
            candidate.due = self._runtime.monotonic() + candidate.delay * self._runtime.random().uniform(0.75, 1.25)
            candidate.delay = min(candidate.delay * 2, MAX_DELAY_S)
            return
        if who == self._protocol.source_node.id:
            self._bootstraps = {text: c for text, c in self._bootstraps.items() if c is not candidate}  # our own address
            return
        self._look_up = self._look_up or not candidate.settled
        candidate.settled, candidate.delay = True, FIRST_DELAY_S
        candidate.due = self._runtime.monotonic() + REJOIN_S
        self._learned.pop(who, None)

    async def _look_up_self(self) -> None:
        """Fills the table around our own id, and tells the nodes there that we exist."""
        self._look_up = False
        crawl = NodeCrawl(self._runtime, self._protocol, self._protocol.source_node, KSIZE)
        if await crawl.find(self._runtime.monotonic() + LOOKUP_S):
            self.joined = True

    async def _resolve(self, candidate: _Candidate) -> Address:
        """The IP address of a bootstrap name, asked anew each time: dynamic names move. Raises `Unreachable`."""
        if _is_literal(candidate.host):
            return candidate.host, candidate.port
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(RESOLVE_S):
                found = await loop.getaddrinfo(candidate.host, candidate.port, type=socket.SOCK_DGRAM, family=self._family())
        except (OSError, TimeoutError, UnicodeError) as error:
            raise Unreachable(f"{candidate.host} has no address: {error}") from error
        return str(found[0][4][0]), candidate.port

    def _family(self) -> int:
        """Only addresses that our own socket can send to."""
        transport = self._protocol.transport
        bound = transport.get_extra_info("sockname")[0] if transport is not None else "0.0.0.0"  # noqa: S104  # no bind
        return socket.AF_INET6 if ":" in bound else socket.AF_INET


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
