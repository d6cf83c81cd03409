"""Requests and answers between two members: one message in one session frame, sent again while nothing comes back.

The wire is `Datagram`s of `protocol.messages` inside the frames of `protocol.session`. What a peer may ask is the table in
`KadProtocol.__init__`; an answer counts only if it comes from the member and address asked and is of the type asked for.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeAlias, TypeVar

from kademlia.node import Node
from kademlia.protocol import KademliaProtocol

from node.dht.limits import TokenBuckets
from node.dht.sessions import Address, Sessions
from node.dht.storage import Storage
from node.dht.table import KSIZE, Table, contact_of, node_of, worth_asking
from node.runtime import Runtime
from protocol.codec import decode_datagram, encode
from protocol.errors import PeerError, Refused, Unreachable
from protocol.identity import Credentials, NodeId
from protocol.messages import (
    Contact,
    Contacts,
    Datagram,
    DatagramMessage,
    FindNode,
    FindValue,
    Ping,
    Pong,
    Refusal,
    Store,
    Stored,
    Values,
)
from protocol.records import Record
from protocol.session import MAX_PLAIN

CALL_S = 1.0
"""A call's time, a handshake included. (Fixed in this first form; 4 times a slow path's round trip.)"""
REPEAT_S = 0.25
"""A request is sent again this long after the last time. Every request may be carried out twice."""
MAX_CALLS = 4_096
"""Calls under way."""
REST_S = 30.0
"""Whoever did not answer is left out of look-ups for this long."""
MAX_RESTING = 1_024
MAX_RECORDS_A_PAGE = 16
CONTACTS_BESIDE_RECORDS = 5
HEADROOM = 32
"""Bytes around the body of a `Datagram` and around the lists in it."""

Answer = TypeVar("Answer")
Handler: TypeAlias = Callable[[Node, Any], DatagramMessage]


@dataclass(slots=True)
class _Call:
    peer: NodeId | None
    address: Address
    expects: type[object]
    plaintext: bytes
    future: asyncio.Future[tuple[NodeId, Any]]
    left: int
    """Times that it may still be sent."""
    timer: asyncio.TimerHandle | None = field(default=None)


class KadProtocol(KademliaProtocol):  # type: ignore[misc]  # kademlia is untyped
    """kademlia's protocol on authenticated datagrams. `on_new(node)`: the table has a new contact; `on_lost(node)`: it lost one."""

    router: Table
    storage: Storage
    transport: asyncio.DatagramTransport | None

    def __init__(
        self,
        runtime: Runtime,
        credentials: Credentials,
        storage: Storage,
        *,
        on_new: Callable[[Node], None],
        on_lost: Callable[[Node], None],
        on_full: Callable[[Node], None],
    ) -> None:
        own = Node(credentials.node_id)
        super().__init__(own, storage, KSIZE)
        self.router = Table(own, KSIZE, on_full)
        self.sessions = Sessions(credentials, runtime.token_bytes)
        self.counts: Counter[str] = Counter()
        self._runtime = runtime
        self._on_new, self._on_lost = on_new, on_lost
        self._outstanding: dict[int, _Call] = {}
        self._numbers = count(1)
        self._requests = TokenBuckets(rate=4_000, burst=8_000)
        """Requests carried out, per member."""
        self._stores = TokenBuckets(rate=1_000, burst=4_000)
        """Of which stores, each of which may cost a signature check."""
        self._resting: OrderedDict[bytes, float] = OrderedDict()
        self._handlers: dict[type[object], Handler] = {
            Ping: self.rpc_ping,
            FindNode: self.rpc_find_node,
            FindValue: self.rpc_find_value,
            Store: self.rpc_store,
        }

    def __getattr__(self, name: str) -> Any:
        """Stock makes a remote call of any name that is not an attribute."""
        raise AttributeError(f"{type(self).__name__} has no attribute {name}")

    # ---- datagrams ------------------------------------------------------------------------------------------------

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        address: Address = (addr[0], addr[1])
        heard = self.sessions.receive(data, address, self._runtime.now())
        self._send(heard.send, address)
        if heard.opened is not None:
            self._on_opened(heard.opened, address)
        if heard.peer is not None:
            self._on_message(heard.peer, address, heard.plaintext)

    def connection_lost(self, exc: Exception | None) -> None:
        for call in self._outstanding.values():
            if not call.future.done():
                call.future.set_exception(Unreachable("this node's DHT is closed"))

    def _send(self, datagrams: Iterable[bytes], address: Address) -> None:
        if self.transport is not None and not self.transport.is_closing():
            for datagram in datagrams:
                self.transport.sendto(datagram, address)

    def _on_opened(self, peer: NodeId, address: Address) -> None:
        """Send what waited for this session."""
        self.welcome_if_new(Node(peer, *address))
        for call in self._outstanding.values():
            if call.address == address and call.peer in (None, peer):
                self._transmit(call)

    def _on_message(self, peer: NodeId, address: Address, plaintext: bytes) -> None:
        try:
            message = decode_datagram(plaintext)
        except PeerError:
            self.counts["malformed"] += 1
            return
        sender = Node(peer, *address)
        self.welcome_if_new(sender)
        if message.answer:
            self._accept_response(message.answer, message.body, sender)
        else:
            self._accept_request(message.call, message.body, sender)

    def _accept_request(self, number: int, body: DatagramMessage, sender: Node) -> None:
        handler = self._handlers.get(type(body))
        if handler is None or not self._requests.allow(sender.id, self._runtime.now()):
            self.counts["refused"] += 1
            return
        self.counts["served"] += 1
        address = (sender.ip, sender.port)
        reply = encode(Datagram(0, number, handler(sender, body)))
        self._send(self.sessions.answer(NodeId(sender.id), address, reply, self._runtime.now()), address)

    def _accept_response(self, number: int, body: DatagramMessage, sender: Node) -> None:
        call = self._outstanding.get(number)
        if (
            call is None
            or call.address != (sender.ip, sender.port)
            or call.peer not in (None, sender.id)
            or not isinstance(body, call.expects | Refusal)
        ):
            self.counts["unasked"] += 1
        elif not call.future.done():
            call.future.set_result((NodeId(sender.id), body))

    # ---- calls ----------------------------------------------------------------------------------------------------

    async def call(self, peer: NodeId | None, address: Address, body: DatagramMessage, expects: type[Answer]) -> tuple[NodeId, Answer]:
        """Ask `peer` (None: whichever member is there) and return who answered what.

        May be cancelled at any time. Raises `Unreachable` after `CALL_S`, `Refused` when the peer says no.
        """
        if len(self._outstanding) >= MAX_CALLS or self.transport is None or self.transport.is_closing():
            raise Unreachable("this node is not listening, or has too many calls under way")
        number = next(self._numbers)
        future = asyncio.get_running_loop().create_future()
        plaintext = encode(Datagram(number, 0, body))
        call = _Call(peer, address, expects, plaintext, future, left=round(CALL_S / REPEAT_S))
        self._outstanding[number] = call
        self.counts["calls"] += 1
        try:
            self._attempt(call)
            who, answer = await future
        finally:
            del self._outstanding[number]
            if call.timer is not None:
                call.timer.cancel()
        if isinstance(answer, Refusal):
            raise Refused(answer.code, answer.message)
        return who, answer

    def _attempt(self, call: _Call) -> None:
        """Send a call, again and again until its time is over."""
        if not call.left:
            self.counts["timeouts"] += 1
            if not call.future.done():
                call.future.set_exception(Unreachable(f"no answer from {call.address[0]}:{call.address[1]} within {CALL_S:g} s"))
            return
        call.left -= 1
        self._transmit(call)
        call.timer = asyncio.get_running_loop().call_later(REPEAT_S, self._attempt, call)

    def _transmit(self, call: _Call) -> None:
        self._send(self.sessions.seal(call.peer, call.address, call.plaintext, self._runtime.now()), call.address)

    async def _ask(self, node: Node, body: DatagramMessage, expects: type[Answer]) -> Answer:
        """A call to a contact; one that does not answer leaves the table and rests."""
        try:
            _, answer = await self.call(NodeId(node.id), (node.ip, node.port), body, expects)
        except Unreachable:
            self._failed(node)
            raise
        return answer

    async def call_ping(self, node_to_ask: Node) -> None:
        await self._ask(node_to_ask, Ping(), Pong)

    async def call_find_node(self, node_to_ask: Node, node_to_find: Node) -> list[Node]:
        """Contacts near `node_to_find` that `node_to_ask` knows."""
        reply = await self._ask(node_to_ask, FindNode(node_to_find.id), Contacts)
        return self._hearsay(reply.contacts, node_to_ask)

    async def call_find_value(self, node_to_ask: Node, node_to_find: Node, after: bytes = b"") -> tuple[Values, list[Node]]:
        """A page of records, and contacts near the key. The records are not verified yet."""
        reply = await self._ask(node_to_ask, FindValue(node_to_find.id, after), Values)
        return reply, self._hearsay(reply.contacts, node_to_ask)

    async def call_store(self, node_to_ask: Node, record: Record) -> Stored:
        return await self._ask(node_to_ask, Store(record), Stored)

    async def greet(self, address: Address, expect: NodeId | None) -> NodeId:
        """Who is at this address? Raises `Unreachable`."""
        who, _ = await self.call(expect, address, Ping(), Pong)
        return who

    def _hearsay(self, contacts: list[Contact], reporter: Node) -> list[Node]:
        usable = (c for c in contacts if c.node_id != self.source_node.id and worth_asking(c, reporter.ip))
        return [node_of(contact) for contact in usable]

    # ---- contacts -------------------------------------------------------------------------------------------------

    def welcome_if_new(self, node: Node) -> None:
        """A member has just spoken from its proven address."""
        self._resting.pop(node.id, None)
        known = self.router.get(node.id)
        self.router.add_contact(node)
        if known is None and self.router.get(node.id) is not None:
            self._on_new(node)

    def resting(self, node: Node) -> bool:
        """It failed us a moment ago: not worth asking now."""
        until = self._resting.get(node.id)
        return until is not None and until > self._runtime.monotonic()

    def _failed(self, node: Node) -> None:
        known = self.router.get(node.id)
        if known is not None and not known.same_home_as(node):
            return  # hearsay named a wrong address; the contact itself did not fail
        self._resting[node.id] = self._runtime.monotonic() + REST_S
        if len(self._resting) > MAX_RESTING:
            self._resting.popitem(last=False)
        if known is not None:
            self.router.remove_contact(known)
            self._on_lost(known)

    # ---- what a peer may ask --------------------------------------------------------------------------------------

    def rpc_ping(self, sender: Node, request: Ping) -> Pong:
        return Pong()

    def rpc_find_node(self, sender: Node, request: FindNode) -> Contacts:
        near = self.router.find_neighbors(Node(request.target), exclude=sender)
        return Contacts(_fitting([contact_of(node) for node in near], MAX_PLAIN - HEADROOM))

    def rpc_find_value(self, sender: Node, request: FindValue) -> Values:
        """A page of records; beside them fewer contacts, and only as many as fit."""
        due = self.storage.page(request.key, request.after)
        records = _fitting(due[:MAX_RECORDS_A_PAGE], MAX_PLAIN - HEADROOM)
        room = MAX_PLAIN - HEADROOM - sum(len(encode(record)) for record in records)
        near = self.router.find_neighbors(Node(request.key), CONTACTS_BESIDE_RECORDS if records else KSIZE, exclude=sender)
        return Values(records, _fitting([contact_of(node) for node in near], room), more=len(records) < len(due))

    def rpc_store(self, sender: Node, request: Store) -> Stored:
        if not self._stores.allow(sender.id, self._runtime.now()):
            return Stored(False, "rate")
        verdict = self.storage.offer(request.record, sponsor=sender.id)
        return Stored(verdict == "kept", "" if verdict == "kept" else verdict)


Sized = TypeVar("Sized", Contact, Record)


def _fitting(items: list[Sized], room: int) -> list[Sized]:
    """As many of the first items as fit into this many bytes."""
    fitting: list[Sized] = []
    for item in items:
        room -= len(encode(item))
        if room < 0:
            break
        fitting.append(item)
    return fitting
