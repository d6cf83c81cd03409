"""Desks of several nodes in one process: messages go through the codec, gossip reaches everybody who is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

from node.blobs import Blobs
from node.label.around import Around
from node.label.book import LabelBook
from node.label.crew import Crew
from node.label.desk import Desk
from node.label.lending import Lending
from node.label.sharing import Sharing
from node.links.exchange import Exchange
from node.runtime import SystemRuntime
from node.store import Store
from node.testing.swarm import Swarm
from protocol.codec import decode_frame, encode
from protocol.errors import Refused, Unreachable, UserError
from protocol.identity import Member, NodeId, NodeKey
from protocol.messages import Frame, Gossip, LinkMessage
from protocol.records import MAX_VALUE, Record, merge, sign
from tests.unit.label.test_crew import HashedReader

Handler = Callable[[Member, Any], Awaitable[LinkMessage | None]]


class Town:
    """Who is there, and how they reach each other."""

    def __init__(self) -> None:
        self.nodes: dict[NodeId, Node] = {}
        self.deaf: set[NodeId] = set()
        """Gossip does not reach them."""
        self.records: dict[bytes, list[Record]] = {}
        """What is in the DHT."""

    def living(self) -> list[NodeId]:
        return sorted(self.nodes)


class Shelf:
    """The DHT as one node writes it."""

    def __init__(self, town: Town, runtime: SystemRuntime, key: NodeKey) -> None:
        self._town, self._runtime, self._key = town, runtime, key

    async def put(self, key: bytes, subkey: str, value: bytes, ttl_s: int) -> None:
        assert len(value) <= MAX_VALUE
        expires_at = int(self._runtime.now()) + ttl_s
        record = sign(self._key, key=key, subkey=subkey, seq=len(self._town.records.get(key, ())), value=value, expires_at=expires_at)
        self._town.records.setdefault(key, []).append(record)

    async def get(self, key: bytes) -> list[Record]:
        return list(merge(self._town.records.get(key, ())).values())


class Node:
    """One node's post: `Courier` and `Gossiper`."""

    def __init__(self, town: Town, member: Member) -> None:
        self._town = town
        self.member = member
        self.handlers: dict[type[Any], Handler] = {}
        self.deliver: Callable[[Member, Gossip], Awaitable[None]] | None = None

    def on(self, kind: type[Any], handler: Handler) -> None:
        self.handlers[kind] = handler

    async def request(self, node: NodeId, message: LinkMessage, timeout: float) -> LinkMessage:
        await asyncio.sleep(0)
        other = self._town.nodes.get(node)
        if other is None:
            raise Unreachable("nobody there")
        try:
            answer = await other.handlers[type(message)](self.member, decode_frame(encode(Frame(1, 0, message))).body)
        except UserError as error:  # its own trouble: it stops at this moment, for one
            raise Refused("failed", str(error)) from error
        assert answer is not None
        return decode_frame(encode(Frame(0, 1, answer))).body

    async def publish(self, topic: str, body: bytes, ttl_s: float) -> Gossip:
        gossip = Gossip([b"", b""], 1, ttl_s, topic, body, bytes(64))
        for node in list(self._town.nodes.values()):
            if node.deliver is not None and node.member.node_id not in self._town.deaf:
                with suppress(UserError):  # its own trouble: it stops at this moment, for one
                    await node.deliver(self.member, gossip)
        return gossip


@asynccontextmanager
async def running(path: Path, town: Town | None = None, seed: int = 1, around: Around | None = None) -> AsyncIterator[Desk]:
    """A desk over a database, in its own task; `seed` is its node's key."""
    path.mkdir(exist_ok=True)
    runtime, reader, town = SystemRuntime(), HashedReader(), town or Town()
    credentials = Swarm(runtime).credentials(NodeKey.from_seed(bytes([seed]) * 32))
    me = credentials.node_id
    node = Node(town, Member(me, credentials.key.public, False, runtime.now() + 1_000))
    courier = cast(Exchange, node)
    shelf = Shelf(town, runtime, credentials.key)
    store = Store(path / "moot.sqlite3", runtime)
    book = LabelBook(store)
    sharing = Sharing(runtime, lambda: credentials, book, Blobs(runtime, path / "blobs", courier), courier, node, town.living, shelf)
    crew, lending = Crew(runtime, me, courier, lambda: [me], reader), Lending(me, courier, town.living)
    desk = Desk(runtime, me, book, reader, crew, lending, sharing, around)
    node.deliver = sharing.deliver
    town.nodes[me] = node
    task = asyncio.create_task(desk.run())
    try:
        yield desk
    finally:
        town.nodes.pop(me)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        store.close()
