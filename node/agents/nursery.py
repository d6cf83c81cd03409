"""The host's side of a handover: offers are checked, a place is kept for a short time, the bytes are fetched and the agent starts to live.

Everything an offer costs is bounded: places, places for one peer, births a minute and in the swarm, time, bytes. An agent that lives here
already is accepted again without another birth, so a lost acknowledgement does no harm. The protocol is drawn in `handover.py`.

An agent that moves here is no birth, so nobody may call a birth a move: it must be one that its node announced, its descent must hash and
be signed, and it is charged to the member that conceived it (a founder: that founded it), or to the node that brings it where that is
no live member. Each of them has `MOVES_EACH` an hour, whoever carries them: inventing founders, children or keys gains nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from node.agents.agent import Agent
from node.agents.genome import most_bytes, unpack
from node.agents.host import AgentHost
from node.agents.limits import Accounts, BirthRule, PerMinute
from node.agents.state import MOST_STATE, open_state
from node.links.courier import Courier
from node.runtime import Runtime
from protocol.errors import Malformed, NotAvailable, PeerError, Refused, UserError
from protocol.homes import MAX_GIVEN_UP
from protocol.identity import Member, NodeId, node_id_of, show_id
from protocol.lineage import check_lineage, founder_of
from protocol.messages import Birth, BirthOffer, BirthReply, GenomeChunk, GenomeRequest

RESERVE_S = 30.0
"""A place is kept this long."""
FETCH_S = 10.0
"""Wait for one chunk of a genome."""
WORD_S = 10.0
"""Wait for the acknowledgement of a birth."""
MAX_RESERVED = 8
MAX_RESERVED_EACH = 2
"""Places kept at once in all, and for children of one peer."""
MOVES_PER_MINUTE = 256
MOVES_EACH = 64
"""Agents of one node's making that may move here in an hour."""

log = structlog.get_logger("agents")


@dataclass(frozen=True, slots=True)
class _Reservation:
    """A place kept for a child on its way."""

    peer: NodeId
    until: float
    """Wall clock, seconds."""


class Nursery:
    """Takes in children of other nodes. `run` it in the daemon's TaskGroup; before that every offer is refused."""

    def __init__(
        self,
        runtime: Runtime,
        host: AgentHost,
        courier: Courier,
        *,
        rule: BirthRule | None = None,
        lives_on: Callable[[NodeId, bytes], bool] = lambda node_id, agent_id: False,
        births_per_minute: int = 6,
    ) -> None:
        """`rule`: what the swarm can bear; without it only places count. `lives_on`: whether a node announced an agent."""
        self._rule = rule
        self._lives_on = lives_on
        self._moves = PerMinute(MOVES_PER_MINUTE)
        self._accounts = Accounts(MOVES_EACH)
        self._runtime = runtime
        self._host = host
        self._courier = courier
        self._births = PerMinute(births_per_minute)
        self._reserved: dict[bytes, _Reservation] = {}
        self._tasks: asyncio.TaskGroup | None = None
        courier.on(BirthOffer, self.offered)

    async def run(self) -> None:
        """Own the fostering until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                await asyncio.Event().wait()
            finally:
                self._tasks = None

    async def offered(self, peer: Member, offer: BirthOffer) -> BirthReply:
        """Accept or refuse an agent; accepting the same one again changes nothing. Raises `Refused` while the node starts or stops."""
        if self._tasks is None or not self._host.ready.is_set():
            raise Refused("not_ready", "this node is not ready")  # no answer: the agent may be in the book
        if self._host.population.holds(offer.child_id):
            self._keep_up(peer.node_id, offer)
            agent = self._host.population.get(offer.child_id)
            if agent is not None and not agent.confirmed:
                self._tasks.create_task(self._tell(peer.node_id, agent), name=f"word of {show_id(offer.child_id)[:8]}")
            return BirthReply(True, "it lives here", 0.0)
        if (reservation := self._reserved.get(offer.child_id)) is not None:
            return BirthReply(reservation.peer == peer.node_id, "its place is kept", reservation.until)
        reason = self._refusal(peer.node_id, offer)
        if reason is not None:
            return BirthReply(False, reason)
        until = self._runtime.now() + RESERVE_S
        self._reserved[offer.child_id] = _Reservation(peer.node_id, until)
        self._tasks.create_task(self._foster(peer.node_id, offer), name=f"fostering {show_id(offer.child_id)[:8]}")
        return BirthReply(True, "", until)

    def _keep_up(self, peer: NodeId, offer: BirthOffer) -> None:
        """The node that conceived it had given it up and comes back to this one: the epoch it names is the agent's."""
        agent = self._host.population.get(offer.child_id)
        if agent is None or agent.confirmed or not agent.lineage or node_id_of(agent.lineage[0].key) != peer:
            return
        if agent.epoch < offer.epoch <= agent.epoch + MAX_GIVEN_UP:
            agent.epoch = offer.epoch
            self._host.population.touch(agent)

    def _lineage_fault(self, peer: NodeId, offer: BirthOffer) -> str | None:
        """What is wrong with the child's descent, which this peer must have signed."""
        if self._host.key is None:
            return None
        try:
            check_lineage(offer.lineage, offer.child_id, offer.parent_id, offer.generation, offer.genome)
        except PeerError as error:
            return str(error)
        return None if node_id_of(offer.lineage[0].key) == peer else "the child was conceived by another node"

    def _refusal(self, peer: NodeId, offer: BirthOffer) -> str | None:
        """Why this node will not host the agent; None keeps a place in the population."""
        worker = self._host.worker(offer.brain)
        if worker is None or not worker.brain.capabilities.divides:
            return f"no brain {offer.brain} here"
        if offer.size > most_bytes(worker.brain.schema()) + (MOST_STATE if offer.moved else 0):
            return f"{offer.size} bytes are no genome of {offer.brain}"
        if len(self._reserved) >= MAX_RESERVED:
            return "too many children on their way"
        if self._host.population.room() == 0:  # before the descent, which takes milliseconds to check
            return "no room"
        fault = self._move_fault(peer, offer) if offer.moved else self._lineage_fault(peer, offer)
        if fault is not None:
            return fault
        if not offer.moved and (reason := self._birth_refusal(peer, founder_of(offer.lineage))) is not None:
            return reason
        return None if self._host.population.reserve(offer.child_id) else "no room"

    def _birth_refusal(self, peer: NodeId, family: bytes) -> str | None:
        """What speaks against one more birth from there; None counts it."""
        if sum(kept.peer == peer for kept in self._reserved.values()) >= MAX_RESERVED_EACH:
            return "too many children on their way"
        now = self._runtime.now()
        if self._rule is not None and (reason := self._rule.refusal(peer, family, now)) is not None:
            return reason
        if not self._births.take(self._runtime.monotonic()):
            return "too many births this minute"
        if self._rule is not None:
            self._rule.note(peer, family, now)
        return None

    def _move_fault(self, peer: NodeId, offer: BirthOffer) -> str | None:
        """Only an agent that is known to live there can move from there, and its birth is on somebody's account."""
        if not self._lives_on(peer, offer.child_id):
            return "this agent is not known to live on your node"
        if not self._moves.take(self._runtime.monotonic()):
            return "too many agents move here this minute"
        payer = peer
        if self._host.key is not None:
            if not offer.lineage:
                return "an agent without a descent cannot move"
            newest = offer.lineage[0]
            try:
                check_lineage(offer.lineage, offer.child_id, newest.parent, offer.generation, newest.genome)
            except PeerError as error:
                return str(error)
            conceived_by = node_id_of(newest.key)
            if self._rule is not None and conceived_by in self._rule.census(self._runtime.now()).nodes:
                payer = conceived_by
        if not self._accounts.take(payer, offer.child_id, self._runtime.monotonic()):
            return "too many agents of one node's making move here this hour"
        return None

    async def _foster(self, peer: NodeId, offer: BirthOffer) -> None:
        """From a reservation to a living agent, or to a place given back."""
        try:
            async with asyncio.timeout(RESERVE_S):
                child = await self._fetch_child(peer, offer)
            child.confirmed = False
            await self._host.adopt(child, came=offer.moved)
        except (PeerError, UserError, TimeoutError) as error:
            log.info("a child was not taken in", parent_node=show_id(peer), reason=str(error) or "too slow")
            return
        finally:
            self._host.population.release(offer.child_id)
            del self._reserved[offer.child_id]
        await self._tell(peer, child)

    async def _tell(self, peer: NodeId, child: Agent) -> None:
        """Say that it lives here; where it found another home meanwhile, this copy gives way."""
        try:
            await self._courier.request(peer, Birth(child.agent_id), WORD_S)
        except Refused as refusal:
            if refusal.code == "elsewhere" and self._host.population.get(child.agent_id) is child:
                await self._host.population.depart(child, "found another home before this one was heard of")
            return
        except PeerError as error:
            log.info("a birth was not heard of; its node will ask again", parent_node=show_id(peer), reason=str(error))
            return
        child.confirmed = True
        self._host.population.touch(child)

    async def _fetch_child(self, peer: NodeId, offer: BirthOffer) -> Agent:
        """The child with its genome fetched and checked. Raises `PeerError` or `NotAvailable`."""
        data = await self._fetch(peer, offer)
        if offer.moved:
            agent = await open_state(self._runtime, self._host, data, offer.genome, offer.child_id, offer.epoch)
            if list(agent.lineage) != offer.lineage:
                raise Malformed("an agent that moves here has another descent than was offered")
            return agent
        worker = self._host.worker(offer.brain)
        if worker is None:
            raise NotAvailable(f"The brain {offer.brain} is no longer ready.")
        genome = await self._runtime.run_blocking(unpack, data, offer.brain, worker.brain.schema(), offer.genome)
        lineage = tuple(offer.lineage)
        return Agent(offer.child_id, genome, self._runtime.now(), offer.generation, offer.parent_id, lineage=lineage, epoch=offer.epoch)

    async def _fetch(self, peer: NodeId, offer: BirthOffer) -> bytes:
        """As many bytes as were promised; their hash is checked when they are unpacked."""
        data = bytearray()
        while len(data) < offer.size:
            chunk = await self._courier.request(peer, GenomeRequest(offer.genome, len(data)), FETCH_S)
            if not isinstance(chunk, GenomeChunk) or chunk.total != offer.size or not chunk.data:
                raise Malformed("a genome's chunk is empty or of another genome")
            data += chunk.data
        return bytes(data)
