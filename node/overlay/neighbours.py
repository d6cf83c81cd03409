"""The active view: up to five symmetric neighbours, kept full.

A node asks another to be its neighbour; the other agrees when it has room, or makes room when the asker has no neighbour at all
(HyParView's high-priority join, Leitão et al. 2007, section 4). Neighbours are probed; one that does not answer twice is dropped
and replaced. With no neighbour left the bootstrap addresses and every address known are dialled again, for ever, with back-off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from node.links.exchange import Exchange
from node.overlay.broadcast import Broadcast
from node.overlay.members import Members
from node.runtime import Runtime
from protocol.errors import BadSignature, PeerError, Refused
from protocol.identity import Member, NodeId, show_id
from protocol.messages import Done, Hello, MembersRequest, NeighbourDrop, NeighbourReply, NeighbourRequest, Probe
from protocol.messages import Members as MembersReply

ACTIVE_VIEW = 5
PERIOD_S = 2.0
PROBE_S = 1.5
SYNC_EVERY = 15
"""Periods between two exchanges of the whole table with a random member: what flooding missed is repaired."""
SHUFFLE_EVERY = 5
"""Periods between two swaps of a neighbour for a stranger: without mixing, full views close into cliques that hear nobody else."""
REJOIN_EVERY = 5
"""Periods between two calls at the door of a node believed dead: after a partition somebody has to knock first."""
STRIKES = 2
BACKOFF_S = (0.5, 30.0)
REPLY_S = 3.0
PAGE = 256

log = structlog.get_logger("neighbours")


class Neighbours:
    """Keeps the view full; owns the one task that dials and probes."""

    def __init__(
        self,
        runtime: Runtime,
        exchange: Exchange,
        members: Members,
        broadcast: Broadcast,
        me: NodeId,
        bootstrap: Callable[[], list[str]],
    ) -> None:
        self._runtime = runtime
        self._exchange = exchange
        self._members = members
        self._broadcast = broadcast
        self._me = me
        self._bootstrap = bootstrap
        self._view: dict[NodeId, int] = {}
        self._wake = asyncio.Event()
        self.sought = asyncio.Event()
        """Set once a neighbour is there, or everybody known was dialled in vain."""
        self.refused: str | None = None
        """Why a bootstrap peer would not have us, when that is a matter of certificates rather than of luck."""
        exchange.watcher = self
        exchange.on(NeighbourRequest, self._on_request)
        exchange.on(NeighbourDrop, self._on_drop)
        exchange.on(MembersRequest, self._on_members)
        exchange.on(Probe, self._on_probe)

    @property
    def view(self) -> list[NodeId]:
        """The neighbours, in the order of ids."""
        return sorted(self._view)

    def link_up(self, peer: Member, hello: Hello) -> None:
        self._members.met(peer.node_id)

    def link_down(self, peer: Member, left: bool) -> None:
        """A lost link is a suspicion; a goodbye means that the process ended (it may come back: SIGTERM is not `leave`)."""
        self._lose(peer.node_id)
        self._members.doubt(peer.node_id, "dead" if left else "suspect")
        self._wake.set()

    async def run(self) -> None:
        """Fill the view and probe it until cancelled."""
        period, delay = 0, BACKOFF_S[0]
        while True:
            if self._view:
                delay = BACKOFF_S[0]
                await self._probe_all()
                if period % SYNC_EVERY == 0 and self._members.others():
                    await self._sync(self._runtime.random().choice(self._members.others()).node_id)
                if period % SHUFFLE_EVERY == 0:
                    await self._shuffle()
            await self._settle_suspects()
            if period % REJOIN_EVERY == 0:
                await self._try_the_dead()
            await self._fill()
            self.sought.set()
            period += 1
            pause = PERIOD_S if self._view or self.alone else delay
            delay = min(BACKOFF_S[1], delay * 2)
            await self._rest(pause)

    @property
    def alone(self) -> bool:
        """Nobody to look for: a founder before its first member."""
        return not self._bootstrap() and not self._members.others()

    async def _rest(self, seconds: float) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _fill(self) -> None:
        missing = ACTIVE_VIEW - len(self._view)
        if missing <= 0:
            return
        candidates = [view.node_id for view in self._members.others() if view.node_id not in self._view]
        self._runtime.random().shuffle(candidates)
        for node_id in candidates[:missing]:
            await self._court(node_id)
        if not self._view:
            await asyncio.gather(*(self._knock(address) for address in self._bootstrap()))

    async def _shuffle(self) -> None:
        """Swap one neighbour of a full view for a random member."""
        strangers = [view.node_id for view in self._members.others() if view.node_id not in self._view]
        if not strangers or len(self._view) < ACTIVE_VIEW:
            return
        given_up = self._runtime.random().choice(self.view)
        self._lose(given_up)
        await self._part(given_up)
        await self._court(self._runtime.random().choice(strangers), urgent=True)

    async def _knock(self, address: str) -> None:
        """Dial an address of which only the address is known."""
        try:
            peer = await self._exchange.connect(address)
        except BadSignature as error:
            self.refused = str(error)
            log.warning("bootstrap refused", address=address, reason=str(error))
        except PeerError as error:
            log.info("bootstrap not reached", address=address, reason=str(error))
        else:
            self.refused = None
            await self._court(peer.node_id)

    async def _court(self, node_id: NodeId, *, urgent: bool = False) -> None:
        """Ask to be neighbours and, on a yes, learn whom the other knows."""
        try:
            reply = await self._exchange.request(node_id, NeighbourRequest(urgent or not self._view), REPLY_S)
        except PeerError as error:
            self._fail(node_id, error)
            return
        if not isinstance(reply, NeighbourReply) or not reply.accepted:
            return
        if len(self._view) >= ACTIVE_VIEW:  # it filled up while the answer was on its way
            await self._part(node_id)
        else:
            self._gain(node_id)
            await self._sync(node_id)
            self.sought.set()

    async def _sync(self, node_id: NodeId) -> None:
        """Anti-entropy: take over the announcements a neighbour holds; each is verified like any other gossip."""
        try:
            reply = await self._exchange.request(node_id, MembersRequest(), REPLY_S)
        except PeerError as error:
            self._fail(node_id, error)
            return
        if isinstance(reply, MembersReply):
            for gossip in reply.members:
                try:
                    await self._broadcast.accept(gossip)
                except PeerError as error:
                    log.debug("announcement refused", by=show_id(node_id), reason=str(error))

    async def _probe_all(self) -> None:
        await asyncio.gather(*(self._probe(node_id) for node_id in self.view))

    async def _probe(self, node_id: NodeId) -> None:
        started = self._runtime.monotonic()
        try:
            await self._exchange.request(node_id, Probe(), PROBE_S)
        except PeerError as error:
            strikes = self._view.get(node_id, 0) + 1
            if node_id in self._view:
                self._view[node_id] = strikes
            if strikes >= STRIKES:
                await self._exchange.drop(node_id, "no answer to probes")
                self._fail(node_id, error)
            return
        if node_id in self._view:
            self._view[node_id] = 0
        self._members.seen(node_id, (self._runtime.monotonic() - started) * 1000)

    async def _settle_suspects(self) -> None:
        """Dial each suspect once: it answers and is alive, or it is dead."""
        suspects = [view.node_id for view in self._members.all() if view.state == "suspect"][:ACTIVE_VIEW]
        await asyncio.gather(*(self._settle(node_id) for node_id in suspects))

    async def _try_the_dead(self) -> None:
        """Dial one node believed dead; if it answers, learn whom it knows: so two halves of a swarm find each other again."""
        dead = [view.node_id for view in self._members.all() if view.state == "dead"]
        if dead:
            node_id = self._runtime.random().choice(dead)
            await self._settle(node_id)
            view = self._members.get(node_id)
            if view is not None and view.state == "alive":
                await self._sync(node_id)

    async def _settle(self, node_id: NodeId) -> None:
        try:
            await self._exchange.request(node_id, Probe(), PROBE_S)
        except PeerError:
            self._members.doubt(node_id, "dead")
        else:
            self._members.seen(node_id)

    def _fail(self, node_id: NodeId, error: PeerError) -> None:
        log.debug("neighbour failed", peer=show_id(node_id), reason=str(error))
        self._lose(node_id)
        if not isinstance(error, Refused):
            self._members.doubt(node_id, "suspect")

    def _gain(self, node_id: NodeId) -> None:
        self._view[node_id] = 0
        self._broadcast.neighbour_up(node_id)
        self._members.seen(node_id)

    def _lose(self, node_id: NodeId) -> None:
        if self._view.pop(node_id, None) is not None:
            self._broadcast.neighbour_down(node_id)
            self._wake.set()

    async def _on_request(self, peer: Member, message: NeighbourRequest) -> NeighbourReply:
        if peer.node_id not in self._view and len(self._view) >= ACTIVE_VIEW:
            if not message.urgent:
                return NeighbourReply(False)
            given_up = self._runtime.random().choice(self.view)
            self._lose(given_up)
            self._gain(peer.node_id)
            await self._part(given_up)
        self._gain(peer.node_id)
        return NeighbourReply(True)

    async def _part(self, node_id: NodeId) -> None:
        """Tell a node that it is no neighbour of ours."""
        try:
            await self._exchange.send(node_id, NeighbourDrop())
        except PeerError as error:
            self._fail(node_id, error)

    async def _on_drop(self, peer: Member, message: NeighbourDrop) -> None:
        self._lose(peer.node_id)

    async def _on_members(self, peer: Member, message: MembersRequest) -> MembersReply:
        """A page of what is known, living first, so that a newcomer sees the swarm at once."""
        views = sorted(self._members.all(), key=lambda view: view.state != "alive")
        return MembersReply([view.gossip for view in views[:PAGE]])

    async def _on_probe(self, peer: Member, message: Probe) -> Done:
        return Done()
