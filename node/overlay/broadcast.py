"""Flooding of signed statements: every node hears each one once, whoever passed it on.

A statement is accepted when its origin is a member (certificate chain), its signature holds, it is neither expired nor from the
future, its origin keeps within its rate, and (origin, sequence) was not seen before. Then it is delivered and passed to every
neighbour but the one it came from. First form: flooding costs one copy per link; Plumtree's trees come later.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

import structlog

from node.links.exchange import Exchange
from node.runtime import Runtime
from protocol.errors import BadSignature, LocalError, Malformed, PeerError
from protocol.identity import CLOCK_SKEW, Credentials, Member, NodeId, show_id, verify, verify_chain
from protocol.messages import Gossip

MAX_TTL_S = 3_600.0
SEEN = 65_536
OUTBOX = 256
ORIGIN_RATE_PER_S = 5.0
ORIGIN_BURST = 50.0
ORIGINS = 4_096
CONTEXT = b"gossip/1"

Deliver = Callable[[Member, Gossip], Awaitable[None]]
log = structlog.get_logger("gossip")


def gossip_body(gossip: Gossip) -> bytes:
    """The bytes an origin signs: everything but its certificates and the signature itself."""
    head = f"{gossip.sequence}|{gossip.expires_at!r}|{len(gossip.topic)}|{gossip.topic}|".encode()
    return head + gossip.body


@dataclass(slots=True)
class _Outbox:
    """Statements on their way to one neighbour; the oldest goes first when it overflows."""

    waiting: deque[Gossip] = field(default_factory=lambda: deque(maxlen=OUTBOX))
    filled: asyncio.Event = field(default_factory=asyncio.Event)
    empty: asyncio.Event = field(default_factory=asyncio.Event)
    """Nothing waits, and nothing is half sent."""

    def __post_init__(self) -> None:
        self.empty.set()


@dataclass(slots=True)
class _Allowance:
    credit: float
    at: float


class Broadcast:
    """Signs, floods, checks and delivers."""

    def __init__(self, runtime: Runtime, credentials: Callable[[], Credentials], exchange: Exchange) -> None:
        self._runtime = runtime
        self._credentials = credentials
        self._exchange = exchange
        self._topics: dict[str, Deliver] = {}
        self._seen: OrderedDict[tuple[NodeId, int], None] = OrderedDict()
        self._allowances: OrderedDict[NodeId, _Allowance] = OrderedDict()
        self._members: OrderedDict[bytes, Member] = OrderedDict()
        self._outboxes: dict[NodeId, tuple[_Outbox, asyncio.Task[None]]] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._sequence = 0
        exchange.on(Gossip, self._receive)

    def on(self, topic: str, deliver: Deliver) -> None:
        """What to do with statements of a topic, this node's own included."""
        self._topics[topic] = deliver

    def start(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks

    def neighbour_up(self, node_id: NodeId) -> None:
        """Statements also go to this neighbour from now on."""
        if self._tasks is None:
            raise LocalError("broadcast is not started")
        if node_id not in self._outboxes:
            outbox = _Outbox()
            task = self._tasks.create_task(self._pump(node_id, outbox), name=f"gossip to {show_id(node_id)[:8]}")
            self._outboxes[node_id] = (outbox, task)

    def neighbour_down(self, node_id: NodeId) -> None:
        outbox = self._outboxes.pop(node_id, None)
        if outbox is not None:
            outbox[1].cancel()

    def close(self) -> None:
        """Stop sending."""
        for node_id in list(self._outboxes):
            self.neighbour_down(node_id)

    async def flush(self) -> None:
        """Until the neighbours were sent all that was said; give it a deadline."""
        await asyncio.gather(*(outbox.empty.wait() for outbox, _ in self._outboxes.values()))

    async def publish(self, topic: str, body: bytes, ttl_s: float) -> Gossip:
        """Sign a statement, deliver it here and flood it."""
        credentials = self._credentials()
        now = self._runtime.now()
        self._sequence = max(self._sequence + 1, int(now * 1000))
        unsigned = Gossip(list(credentials.chain), self._sequence, now + min(ttl_s, MAX_TTL_S), topic, body, bytes(64))
        gossip = Gossip(
            unsigned.chain, unsigned.sequence, unsigned.expires_at, topic, body, credentials.key.sign(CONTEXT, gossip_body(unsigned))
        )
        await self.accept(gossip, self._outboxes)
        return gossip

    async def accept(self, gossip: Gossip, forward_to: Iterable[NodeId] = ()) -> None:
        """Check one statement, deliver it if it is new, pass it on. Raises `PeerError` when it breaks a rule."""
        origin = self._member(gossip)
        key = (origin.node_id, gossip.sequence)
        if key in self._seen:
            return
        self._check(origin, gossip)
        self._seen[key] = None
        while len(self._seen) > SEEN:
            self._seen.popitem(last=False)
        for node_id in list(forward_to):
            self._push(node_id, gossip)
        deliver = self._topics.get(gossip.topic)
        if deliver is not None:
            await deliver(origin, gossip)

    async def _receive(self, peer: Member, gossip: Gossip) -> None:
        try:
            await self.accept(gossip, [node_id for node_id in self._outboxes if node_id != peer.node_id])
        except PeerError as error:
            self._exchange.dropped += 1
            log.info("gossip refused", by=show_id(peer.node_id), reason=str(error))

    def _member(self, gossip: Gossip) -> Member:
        """Who said it; chains are verified once and remembered (bounded) until they expire."""
        key = gossip.chain[0] + gossip.chain[1]
        member = self._members.get(key)
        if member is None or member.expires_at < self._runtime.now():
            member = verify_chain(gossip.chain, self._credentials().root, self._runtime.now())
            self._members[key] = member
            while len(self._members) > ORIGINS:
                self._members.popitem(last=False)
        return member

    def _check(self, origin: Member, gossip: Gossip) -> None:
        now = self._runtime.now()
        skew = CLOCK_SKEW.total_seconds()
        if gossip.expires_at < now:
            raise Malformed("the statement has expired")
        if gossip.expires_at > now + MAX_TTL_S + skew or gossip.sequence > (now + skew) * 1000:
            raise Malformed("the statement comes from the future; check the origin's clock")
        self._charge(origin.node_id)
        try:
            verify(origin.public_key, gossip.signature, CONTEXT, gossip_body(gossip))
        except BadSignature:
            log.warning("forged gossip", origin=show_id(origin.node_id))
            raise

    def _charge(self, origin: NodeId) -> None:
        """A token bucket per origin, before the signature costs anything."""
        now = self._runtime.monotonic()
        allowance = self._allowances.setdefault(origin, _Allowance(ORIGIN_BURST, now))
        allowance.credit = min(ORIGIN_BURST, allowance.credit + (now - allowance.at) * ORIGIN_RATE_PER_S)
        allowance.at = now
        while len(self._allowances) > ORIGINS:
            self._allowances.popitem(last=False)
        if allowance.credit < 1:
            raise Malformed("the origin says too much")
        allowance.credit -= 1

    def _push(self, node_id: NodeId, gossip: Gossip) -> None:
        entry = self._outboxes.get(node_id)
        if entry is not None:
            entry[0].waiting.append(gossip)
            entry[0].empty.clear()
            entry[0].filled.set()

    async def _pump(self, node_id: NodeId, outbox: _Outbox) -> None:
        """Send what waits for one neighbour, in order; a neighbour that cannot be reached loses what waited."""
        while True:
            await outbox.filled.wait()
            outbox.filled.clear()
            while outbox.waiting:
                try:
                    await self._exchange.send(node_id, outbox.waiting.popleft())
                except PeerError as error:
                    log.debug("gossip not sent", to=show_id(node_id), reason=str(error))
                    outbox.waiting.clear()
            outbox.empty.set()
