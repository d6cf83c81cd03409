"""Division, the host's side: offers are checked, a place is kept for a short time, the genome is fetched and the child starts to live.

Everything an offer costs is bounded: places, places for one peer, births a minute, time, bytes. A child that lives here already is
accepted again without another birth, so a lost acknowledgement does no harm. The protocol is drawn in `node.agents.replication`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog

from node.agents.agent import Agent
from node.agents.genome import most_bytes, unpack
from node.agents.host import AgentHost
from node.agents.limits import PerMinute
from node.links.courier import Courier
from node.runtime import Runtime
from protocol.errors import Malformed, NotAvailable, PeerError, UserError
from protocol.identity import Member, NodeId, node_id_of, show_id
from protocol.lineage import check_lineage
from protocol.messages import Birth, BirthOffer, BirthReply, GenomeChunk, GenomeRequest

RESERVE_S = 30.0
"""A place is kept this long."""
FETCH_S = 10.0
"""Wait for one chunk of a genome."""
MAX_RESERVED = 8
MAX_RESERVED_EACH = 2
"""Places kept at once in all, and for one peer."""

log = structlog.get_logger("agents")


@dataclass(frozen=True, slots=True)
class _Reservation:
    """A place kept for a child on its way."""

    peer: NodeId
    until: float
    """Wall clock, seconds."""


class Nursery:
    """Takes in children of other nodes. `run` it in the daemon's TaskGroup; before that every offer is refused."""

    def __init__(self, runtime: Runtime, host: AgentHost, courier: Courier, *, births_per_minute: int = 6) -> None:
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
        """Accept or refuse a child; accepting the same child again changes nothing."""
        if self._host.population.get(offer.child_id) is not None:
            return BirthReply(True, "it lives here", 0.0)
        if (reservation := self._reserved.get(offer.child_id)) is not None:
            return BirthReply(reservation.peer == peer.node_id, "its place is kept", reservation.until)
        if self._tasks is None:
            return BirthReply(False, "this node is not ready")
        reason = self._refusal(peer.node_id, offer)
        if reason is not None:
            return BirthReply(False, reason)
        until = self._runtime.now() + RESERVE_S
        self._reserved[offer.child_id] = _Reservation(peer.node_id, until)
        self._tasks.create_task(self._foster(peer.node_id, offer), name=f"fostering {show_id(offer.child_id)[:8]}")
        return BirthReply(True, "", until)

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
        """Why this node will not host the child; None keeps a place in the population."""
        worker = self._host.worker(offer.brain)
        if worker is None or not worker.brain.capabilities.divides:
            return f"no brain {offer.brain} here"
        if offer.size > most_bytes(worker.brain.schema()):
            return f"{offer.size} bytes are no genome of {offer.brain}"
        if (fault := self._lineage_fault(peer, offer)) is not None:
            return fault
        if len(self._reserved) >= MAX_RESERVED or sum(kept.peer == peer for kept in self._reserved.values()) >= MAX_RESERVED_EACH:
            return "too many children on their way"
        if self._host.population.room() == 0:
            return "no room"
        if not self._births.take(self._runtime.monotonic()):
            return "too many births this minute"
        return None if self._host.population.reserve(offer.child_id) else "no room"

    async def _foster(self, peer: NodeId, offer: BirthOffer) -> None:
        """From a reservation to a living child, or to a place given back."""
        try:
            async with asyncio.timeout(RESERVE_S):
                child = await self._fetch_child(peer, offer)
            await self._host.adopt(child)
        except (PeerError, UserError, TimeoutError) as error:
            log.info("a child was not taken in", parent_node=show_id(peer), reason=str(error) or "too slow")
            return
        finally:
            self._host.population.release(offer.child_id)
            del self._reserved[offer.child_id]
        try:
            await self._courier.send(peer, Birth(offer.child_id))
        except PeerError as error:
            log.info("a birth was not heard of; its node will ask again", parent_node=show_id(peer), reason=str(error))

    async def _fetch_child(self, peer: NodeId, offer: BirthOffer) -> Agent:
        """The child with its genome fetched and checked. Raises `PeerError` or `NotAvailable`."""
        data = await self._fetch(peer, offer)
        worker = self._host.worker(offer.brain)
        if worker is None:
            raise NotAvailable(f"The brain {offer.brain} is no longer ready.")
        genome = await self._runtime.run_blocking(unpack, data, offer.brain, worker.brain.schema(), offer.genome)
        return Agent(offer.child_id, genome, self._runtime.now(), offer.generation, offer.parent_id, lineage=tuple(offer.lineage))

    async def _fetch(self, peer: NodeId, offer: BirthOffer) -> bytes:
        """As many bytes as were promised; their hash is checked when they are unpacked."""
        data = bytearray()
        while len(data) < offer.size:
            chunk = await self._courier.request(peer, GenomeRequest(offer.genome, len(data)), FETCH_S)
            if not isinstance(chunk, GenomeChunk) or chunk.total != offer.size or not chunk.data:
                raise Malformed("a genome's chunk is empty or of another genome")
            data += chunk.data
        return bytes(data)
