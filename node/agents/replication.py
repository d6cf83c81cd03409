"""Division, the parent's side: a mutated child is offered to a node with room and served to it; failing that, it is born at home.

    parent's node                         a node with room
    BirthOffer(child, genome hash)  --->  room, brain, size, rate checked; a place reserved
                     BirthReply     <---
                  GenomeRequest     <---  chunk by chunk, the hash checked at the end
    GenomeChunk                     --->
                          Birth     <---  on disk and alive

No child is born twice. A genome is served only while its offer to that very node is open, so a node that has not fetched all of it
when the offer is withdrawn can never start the child, and the next node may be asked. A node that has fetched it and says nothing is
asked again, with the same child id, until it answers (`BirthReply` with `reserved_until` 0: it lives here already) or `SETTLE_S` is
over: then the child is given up rather than risked twice.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial

import structlog

from node.agents.agent import Agent, born
from node.agents.host import AgentHost
from node.agents.limits import PerMinute
from node.agents.mating import child_genome, mate_for
from node.agents.population import OnEvent, birth_data
from node.agents.selection import threshold_of
from node.links.courier import Courier
from node.runtime import Runtime
from protocol.errors import MootError, NotAvailable, PeerError, Refused
from protocol.identity import Member, NodeId, show_id
from protocol.messages import Birth, BirthOffer, BirthReply, Done, GenomeChunk, GenomeRequest

OFFER_S = 5.0
"""Wait for the answer to an offer."""
BIRTH_S = 10.0
"""Wait for the birth after an offer was accepted."""
SETTLE_S = 120.0
"""How long a node that has fetched a genome is asked what became of the child."""
AVOID_S = 600.0
"""A node that accepted and did not start the child is not offered another for this long."""
MAX_OFFERS = 4
"""Nodes asked for one child."""
MAX_DIVIDING = 4
CHUNK = 131_072
RECHECK_S = 10.0
"""Divisions that the rate limit held back are tried again after this long."""

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

    child: Agent
    accepted: bool = False
    fetched: bool = False
    born: asyncio.Event = field(default_factory=asyncio.Event)


class Replicator:
    """Divides agents that have had enough interactions. `run` it in the daemon's TaskGroup."""

    def __init__(
        self,
        runtime: Runtime,
        me: NodeId,
        host: AgentHost,
        courier: Courier,
        rooms: Callable[[], list[tuple[NodeId, int]]],
        *,
        threshold: int = 5,
        scaled: bool = False,
        births_per_minute: int = 6,
        on_event: OnEvent = lambda kind, data: None,
    ) -> None:
        """`rooms` names the live nodes that announced room and how much; this node among them is ignored. `scaled`: the threshold
        grows as the node fills and falls with fitness (`selection.threshold_of`); otherwise it is the seed experiment's fixed one."""
        self._scaled = scaled
        self._runtime = runtime
        self._me = me
        self._host = host
        self._courier = courier
        self._rooms = rooms
        self._threshold = threshold
        self._births = PerMinute(births_per_minute)
        self._on_event = on_event
        self._offers: dict[tuple[NodeId, bytes], _Offer] = {}
        self._dividing: set[bytes] = set()
        self._avoided: dict[NodeId, float] = {}
        self._ripe = asyncio.Event()
        host.on_interaction = self._noticed
        courier.on(GenomeRequest, self.serve)
        courier.on(Birth, self.born)

    async def run(self) -> None:
        """Divide ripe agents until cancelled."""
        async with asyncio.TaskGroup() as divisions:
            while True:
                await self._ripe.wait()
                self._ripe.clear()
                for agent in self._host.population.all():
                    if self._may_divide(agent):
                        self._dividing.add(agent.agent_id)
                        agent.since_division = 0
                        self._host.population.touch(agent)
                        divisions.create_task(self._divide(agent), name=f"division of {show_id(agent.agent_id)[:8]}")
                if any(self._is_ripe(agent) for agent in self._host.population.all()):
                    await asyncio.sleep(RECHECK_S)
                    self._ripe.set()

    # ---- messages from the foster node --------------------------------------------------------------------------------

    async def serve(self, peer: Member, request: GenomeRequest) -> GenomeChunk:
        """Part of a genome that is on offer to this peer. Raises `Refused`."""
        offer = self._offers.get((peer.node_id, request.genome))
        if offer is None:
            raise Refused("unknown", "no child with this genome is on offer to you")
        data = offer.child.packed
        chunk = data[request.offset : request.offset + CHUNK]
        if request.offset + len(chunk) >= len(data):
            offer.fetched = True
        return GenomeChunk(len(data), chunk)

    async def born(self, peer: Member, birth: Birth) -> Done:
        """The child lives on that peer. Words about a child that was not offered to it mean nothing."""
        for (node_id, _), offer in self._offers.items():
            if node_id == peer.node_id and offer.child.agent_id == birth.child_id and offer.fetched:
                offer.born.set()
        return Done()

    # ---- one division -------------------------------------------------------------------------------------------------

    def _noticed(self, agent: Agent) -> None:
        if self._is_ripe(agent):
            self._ripe.set()

    def _is_ripe(self, agent: Agent) -> bool:
        worker = self._host.worker(agent.brain)
        if worker is None or not worker.brain.capabilities.divides:
            return False
        threshold = self._threshold
        if self._scaled:
            population = self._host.population
            threshold = threshold_of(self._threshold, agent, population.room(), population.capacity)
        threshold = max(threshold, worker.brain.capabilities.rest)
        return agent.since_division >= threshold and agent.agent_id not in self._dividing

    def _may_divide(self, agent: Agent) -> bool:
        """Ripe, and within what this node may do at once and in a minute."""
        return self._is_ripe(agent) and len(self._dividing) < MAX_DIVIDING and self._births.take(self._runtime.monotonic())

    async def _divide(self, parent: Agent) -> None:
        try:
            child = await self._conceive(parent)
            if await self._place_elsewhere(child) is Outcome.NOT_BORN and not await self._place_here(child, parent):
                log.info("a child found no place", parent=show_id(parent.agent_id))
        except MootError as error:
            log.warning("a division failed", parent=show_id(parent.agent_id), reason=str(error))
        finally:
            self._dividing.discard(parent.agent_id)
            self._noticed(parent)

    async def _conceive(self, parent: Agent) -> Agent:
        """The mutated child, not yet anywhere. Raises `NotAvailable`."""
        worker = self._host.worker(parent.brain)
        if worker is None:
            raise NotAvailable(f"The brain {parent.brain} is no longer ready.")
        rng = random.Random(self._runtime.token_bytes(16))
        mate = mate_for(parent, self._host.population.of(parent.brain), self._runtime.now(), rng)
        genome, mixed = await worker.call(partial(child_genome, worker.brain, parent.genome, mate.genome if mate else None, rng))
        entropy = self._runtime.token_bytes(16)
        return born(genome, self._runtime.now(), self._me, self._host.key, entropy, parent, mate if mixed else None)

    async def _place_elsewhere(self, child: Agent) -> Outcome:
        for node_id in self._candidates():
            outcome = await self._offer(child, node_id)
            if outcome is Outcome.BORN:
                self._on_event("birth", birth_data(child.agent_id, child.parent_id, child.brain, child.generation, node_id))
            if outcome is not Outcome.NOT_BORN:
                return outcome
        return Outcome.NOT_BORN

    async def _place_here(self, child: Agent, parent: Agent) -> bool:
        """Born at home, where there is room or a less fit agent of the same brain makes it. Never the parent or one that divides."""
        population = self._host.population
        child.fitness = parent.fitness.inherited()
        if population.room() == 0:
            victim = population.weakest(child.brain, self._dividing | {parent.agent_id})
            if victim is None:
                return False
            await population.bury(victim, "made room for a child")
        await self._host.adopt(child)
        return True

    def _candidates(self) -> list[NodeId]:
        """Nodes to ask, those with most room first, equals in random order."""
        now = self._runtime.monotonic()
        self._avoided = {node_id: until for node_id, until in self._avoided.items() if until > now}
        rooms = [(node_id, room) for node_id, room in self._rooms() if room > 0 and node_id != self._me and node_id not in self._avoided]
        self._runtime.random().shuffle(rooms)
        return [node_id for node_id, _ in sorted(rooms, key=lambda entry: -entry[1])[:MAX_OFFERS]]

    async def _offer(self, child: Agent, node_id: NodeId) -> Outcome:
        """Offer the child to one node and see it through."""
        key = (node_id, child.genome_hash)
        if key in self._offers:
            return Outcome.NOT_BORN
        offer = self._offers[key] = _Offer(child)
        try:
            outcome = await self._negotiate(offer, node_id)
        finally:
            del self._offers[key]
        if outcome is not Outcome.BORN:
            log.info("a child was not hosted", node=show_id(node_id), outcome=outcome.name)
            if offer.accepted:
                self._avoided[node_id] = self._runtime.monotonic() + AVOID_S
        return outcome

    async def _negotiate(self, offer: _Offer, node_id: NodeId) -> Outcome:
        child = offer.child
        message = BirthOffer(
            child.agent_id, child.parent_id, child.brain, child.generation, child.genome_hash, len(child.packed), list(child.lineage)
        )
        settle_by = self._runtime.monotonic() + SETTLE_S
        while True:
            reply = await self._ask(node_id, message)
            if offer.born.is_set() or (reply is not None and reply.accepted and reply.reserved_until == 0.0):
                return Outcome.BORN
            if reply is not None and not reply.accepted:
                return Outcome.NOT_BORN
            if reply is not None or offer.fetched:
                offer.accepted = True
                if await self._is_born(offer):
                    return Outcome.BORN
            if not offer.fetched:
                return Outcome.NOT_BORN
            if self._runtime.monotonic() >= settle_by:
                return Outcome.UNKNOWN

    @staticmethod
    async def _is_born(offer: _Offer) -> bool:
        """Wait for word of the birth."""
        try:
            async with asyncio.timeout(BIRTH_S):
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
