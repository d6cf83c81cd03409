"""The iterative look-up (Maymounkov and Mazieres, 2002, section 2.3), rolling: a slow contact holds up one of three places, not a round.

A crawl asks the nearest contacts it knows, learns nearer ones from their answers, and ends when the nearest `width` have all
answered, when it has what it came for, or at its deadline; what it has by then is its result. (First form: no hedging of slow
contacts, one path.)
"""

from __future__ import annotations

import asyncio
from bisect import insort
from collections.abc import Iterable

from kademlia.node import Node

from node.dht.rpc import KadProtocol
from node.runtime import Runtime
from protocol.errors import Malformed, PeerError
from protocol.records import Record, Slots, cursor_of, merge, verify_record

ALPHA = 3
"""Contacts asked at once."""
MAX_ASKED = 64
"""Contacts asked in one crawl: a hostile member may name contacts without end."""
MAX_PAGES = 128
READ_QUORUM = 3
"""Holders whose records a read merges."""


class NodeCrawl:
    """Finds the `width` live nodes nearest to a target."""

    def __init__(self, runtime: Runtime, protocol: KadProtocol, target: Node, width: int) -> None:
        self.target = target
        self.answered: dict[bytes, Node] = {}
        self._runtime = runtime
        self._protocol = protocol
        self._width = width
        self._known: set[bytes] = {protocol.source_node.id}
        self._asked: set[bytes] = set()
        self._failed: set[bytes] = set()
        self._shortlist: list[tuple[int, bytes, Node]] = []
        """Nearest first."""
        self._learn(protocol.router.find_neighbors(target))

    async def find(self, deadline: float) -> list[Node]:
        """Live nodes, nearest first, at most `width`. `deadline` is on the monotonic clock."""
        await self._crawl(deadline)
        return [node for _, _, node in self._shortlist if node.id in self.answered][: self._width]

    async def _crawl(self, deadline: float) -> None:
        flying: dict[asyncio.Task[None], Node] = {}
        async with asyncio.TaskGroup() as group:
            while not self._finished():
                for node in self._next(ALPHA - len(flying)):
                    self._asked.add(node.id)
                    flying[group.create_task(self._visit(node))] = node
                left = deadline - self._runtime.monotonic()
                if not flying or left <= 0:
                    break
                done, _ = await asyncio.wait(flying, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                flying = {task: node for task, node in flying.items() if task not in done}
            for task in flying:
                task.cancel()

    async def _visit(self, node: Node) -> None:
        try:
            nearer = await self._ask(node)
        except PeerError:
            self._failed.add(node.id)
        else:
            self.answered[node.id] = node
            self._learn(nearer)

    async def _ask(self, node: Node) -> list[Node]:
        return await self._protocol.call_find_node(node, self.target)

    def _learn(self, nodes: Iterable[Node]) -> None:
        """Add candidates. For a contact of ours its proven address counts, not hearsay."""
        for node in nodes:
            if node.id not in self._known and not self._protocol.resting(node):
                self._known.add(node.id)
                contact = self._protocol.router.get(node.id) or node
                insort(self._shortlist, (self.target.distance_to(contact), contact.id, contact))

    def _nearest(self) -> list[Node]:
        live = (node for _, _, node in self._shortlist if node.id not in self._failed)
        return [node for node, _ in zip(live, range(self._width), strict=False)]

    def _next(self, places: int) -> list[Node]:
        if places <= 0 or len(self._asked) >= MAX_ASKED:
            return []
        return [node for node in self._nearest() if node.id not in self._asked][:places]

    def _finished(self) -> bool:
        return all(node.id in self.answered for node in self._nearest())


class ValueCrawl(NodeCrawl):
    """Finds the records of a key and merges what `READ_QUORUM` holders say, `held` (this node's own) included."""

    def __init__(self, runtime: Runtime, protocol: KadProtocol, target: Node, width: int, held: list[Record]) -> None:
        super().__init__(runtime, protocol, target, width)
        self.slots: Slots = merge(held)
        self._holders = 1 if held else 0
        self._verified: set[Record] = set(held)

    def _finished(self) -> bool:
        return self._holders >= READ_QUORUM or super()._finished()

    async def _ask(self, node: Node) -> list[Node]:
        """Every page of what `node` holds. A forged record ends the talk with it and costs it its word."""
        reply, nearer = await self._protocol.call_find_value(node, self.target)
        held = bool(reply.records)
        for _ in range(MAX_PAGES):
            self._merge(reply.records)
            if not reply.more or not reply.records:
                break
            reply, _ = await self._protocol.call_find_value(node, self.target, cursor_of(reply.records[-1]))
        self._holders += held
        return nearer

    def _merge(self, records: list[Record]) -> None:
        for record in records:
            if record.key != self.target.id:
                raise Malformed("a record of another key")
            if record not in self._verified:
                verify_record(record)
                self._verified.add(record)
        self.slots = merge(self.slots.values(), records)
