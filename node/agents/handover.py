"""Giving an agent to another node so that it lives once, whatever is lost on the way.

    giver                                     host
    BirthOffer(agent, hash, size)      --->   room, brain, size, rate checked; a place reserved
                        BirthReply     <---
                     GenomeRequest     <---   chunk by chunk, the hash checked at the end
    GenomeChunk                        --->
                             Birth     <---   on disk and alive
    Done                               --->

Bytes are served only while the offer to that very node is open, so a node that has not fetched all of them when the offer is withdrawn
can never start the agent, and the next node may be asked. A node that has fetched them and says nothing is asked again, with the same
id, until it answers (`BirthReply` with `reserved_until` 0: it lives here already; of a node that never fetched it this is not believed)
or the time is over: then nobody knows (`UNKNOWN`). Births and moves go this way.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from enum import Enum, auto

import structlog

from node.links.courier import Courier
from node.runtime import Runtime
from protocol.errors import PeerError, Refused
from protocol.identity import Member, NodeId, show_id
from protocol.messages import Birth, BirthOffer, BirthReply, Done, GenomeChunk, GenomeRequest

OFFER_S = 5.0
"""Wait for the answer to an offer."""
BIRTH_S = 10.0
"""Wait for the birth after an offer was accepted."""
SETTLE_S = 120.0
"""How long a node that has fetched an agent is asked what became of it."""
AVOID_S = 600.0
"""A node that accepted and did not start the agent is not offered another for this long."""
CHUNK = 131_072
MAX_REMEMBERED = 1_024
"""Handed-over agents whose new home is remembered, and of those that were fetched who has had them."""

log = structlog.get_logger("agents")


class Outcome(Enum):
    """What became of one offer."""

    BORN = auto()
    UNKNOWN = auto()
    """Fetched, then silence: it may live there."""
    NOT_BORN = auto()
    """Refused, unreachable or never fetched: the next node may be asked."""


@dataclass(slots=True)
class _Offer:
    """An open offer to one node."""

    agent_id: bytes
    data: bytes
    fetched: bool
    accepted: bool = False
    refusal: str = ""
    born: asyncio.Event = field(default_factory=asyncio.Event)


class Handover:
    """The giver's side. Owns the open offers."""

    def __init__(self, runtime: Runtime, courier: Courier) -> None:
        self._runtime = runtime
        self._courier = courier
        self._offers: dict[tuple[NodeId, bytes], _Offer] = {}
        self._avoided: dict[NodeId, float] = {}
        self._homes: OrderedDict[bytes, NodeId] = OrderedDict()
        """Agent -> the node known to have started it."""
        self._fetched: OrderedDict[tuple[NodeId, bytes], None] = OrderedDict()
        """(node, agent) where the node has had all of its bytes."""
        courier.on(GenomeRequest, self.serve)
        courier.on(Birth, self.born)

    def avoids(self, node_id: NodeId) -> bool:
        """Whether that node accepted an agent lately and did not start it."""
        return self._avoided.get(node_id, 0.0) > self._runtime.monotonic()

    async def offer(
        self, node_id: NodeId, message: BirthOffer, data: bytes, *, risked: bool = False, settle_s: float = SETTLE_S
    ) -> Outcome:
        """Offer an agent to one node and see it through. `risked`: the node may have all of `data` from an earlier offer."""
        key = (node_id, message.genome)
        if key in self._offers:
            return Outcome.NOT_BORN
        offer = self._offers[key] = _Offer(message.child_id, data, risked)
        had = risked or (node_id, message.child_id) in self._fetched
        try:
            outcome = await self._negotiate(offer, node_id, message, settle_s, had)
        finally:
            del self._offers[key]
        if outcome is Outcome.BORN:
            self._homes[message.child_id] = node_id
            while len(self._homes) > MAX_REMEMBERED:
                self._homes.popitem(last=False)
        else:
            log.info("an agent was not hosted", node=show_id(node_id), outcome=outcome.name, reason=offer.refusal)
            if offer.accepted:
                self._avoided = {node: until for node, until in self._avoided.items() if until > self._runtime.monotonic()}
                self._avoided[node_id] = self._runtime.monotonic() + AVOID_S
        return outcome

    # ---- messages from the host ---------------------------------------------------------------------------------------

    async def serve(self, peer: Member, request: GenomeRequest) -> GenomeChunk:
        """Part of what is on offer to this peer. Raises `Refused`."""
        offer = self._offers.get((peer.node_id, request.genome))
        if offer is None:
            raise Refused("unknown", "no child with this genome is on offer to you")
        chunk = offer.data[request.offset : request.offset + CHUNK]
        if request.offset + len(chunk) >= len(offer.data):
            offer.fetched = True
            self._fetched[peer.node_id, offer.agent_id] = None
            while len(self._fetched) > MAX_REMEMBERED:
                self._fetched.popitem(last=False)
        return GenomeChunk(len(offer.data), chunk)

    async def born(self, peer: Member, birth: Birth) -> Done:
        """The agent lives on that peer. Words about one that was not offered to it mean nothing. Raises `Refused`."""
        for (node_id, _), offer in self._offers.items():
            if node_id == peer.node_id and offer.agent_id == birth.child_id and offer.fetched:
                offer.born.set()
                return Done()
        home = self._homes.get(birth.child_id)
        if home is None:
            raise Refused("unknown", "this agent is not on offer to you")
        if home != peer.node_id:
            raise Refused("elsewhere", "this agent found another home")
        return Done()

    # ---- one offer ----------------------------------------------------------------------------------------------------

    async def _negotiate(self, offer: _Offer, node_id: NodeId, message: BirthOffer, settle_s: float, had: bool) -> Outcome:
        """`had`: the node may live with the agent since an earlier offer."""
        settle_by = self._runtime.monotonic() + settle_s
        while True:
            asked_at = self._runtime.monotonic()
            reply = await self._ask(node_id, message)
            there = reply is not None and reply.accepted and reply.reserved_until == 0.0
            if offer.born.is_set() or (there and (offer.fetched or had)):
                return Outcome.BORN
            if there:
                offer.refusal = "it says that the agent lives there, and never fetched it"
                return Outcome.UNKNOWN
            if reply is not None and not reply.accepted:
                offer.refusal = reply.reason
                return Outcome.NOT_BORN
            if reply is not None or offer.fetched:
                offer.accepted = reply is not None
                if await self._is_born(offer, asked_at + BIRTH_S):
                    return Outcome.BORN
            if not offer.fetched:
                return Outcome.NOT_BORN
            if self._runtime.monotonic() >= settle_by:
                return Outcome.UNKNOWN

    async def _is_born(self, offer: _Offer, until: float) -> bool:
        """Wait for word of the birth."""
        try:
            async with asyncio.timeout(max(BIRTH_S / 2, until - self._runtime.monotonic())):
                await offer.born.wait()
        except TimeoutError:
            return False
        return True

    async def _ask(self, node_id: NodeId, message: BirthOffer) -> BirthReply | None:
        """The reply, or None when there is none of the nursery's own: then nothing is known."""
        try:
            reply = await self._courier.request(node_id, message, OFFER_S)
        except PeerError as error:
            log.debug("no answer to an offer", node=show_id(node_id), reason=str(error))
            return None
        return reply if isinstance(reply, BirthReply) else None
