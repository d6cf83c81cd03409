"""After a node's death its agents live on elsewhere; when it comes back, its own copies give way.

A node counts as dead for good after `CONFIRM_S` of silence. Its agents are those that it announced last. Each has a record in the DHT that
names the keepers of its checkpoint, in order: the first that lives revives it, the next only `STEP_S` later, and so on. Before it lives,
its new home states in the DHT that it does, one epoch on, and looks whether somebody else was faster.

Two copies can still come to be (a partition, or a node that was only cut off). They see each other in the announcements, and the lower
standing gives way. A stranger's claim counts for nothing: a node yields an agent only to nodes that it entrusted it to, or where the one
that sent the agent never heard that it arrived.
"""

from __future__ import annotations

import asyncio

import msgspec
import structlog

from node.agents.agent import Agent
from node.agents.host import AgentHost
from node.agents.seams import Departed, Shelf, Swarm, Vault
from node.agents.state import open_state
from node.runtime import Runtime
from protocol.errors import MootError
from protocol.homes import COPIES, SUBKEY, Home, Standing, home_key, outranks, read_home, rendezvous
from protocol.identity import NodeId, node_id_of, show_id

WATCH_S = 5.0
CONFIRM_S = 120.0
"""Silence after which a node's agents are revived elsewhere."""
STEP_S = 60.0
"""How much longer each further guardian waits."""
RETRY_S = 60.0
RECORD_S = 3_600
MAX_RANK = 4 * COPIES
"""Only so many nodes look an agent up: its guardians were the first of the same order when the checkpoint was made."""

log = structlog.get_logger("agents")


class Rebirth:
    """Gives way to better claims, and revives the agents of the dead. `run` it in the daemon's TaskGroup."""

    def __init__(self, runtime: Runtime, me: NodeId, host: AgentHost, shelf: Shelf, swarm: Swarm, vault: Vault) -> None:
        self._runtime = runtime
        self._me = me
        self._host = host
        self._shelf = shelf
        self._swarm = swarm
        self._vault = vault
        self._next_try: dict[bytes, float] = {}

    async def run(self) -> None:
        """Until cancelled."""
        await self._host.ready.wait()
        while True:
            await self.give_way()
            for departed in self._swarm.departed():
                if departed.silent_s >= CONFIRM_S:
                    await self._look_after(departed)
            await asyncio.sleep(WATCH_S)

    # ---- one copy too many ----------------------------------------------------------------------------------------

    async def give_way(self) -> None:
        """Agents that live on elsewhere with a better standing are gone here."""
        claims = self._swarm.claims()
        for agent in self._host.population.all():
            claim = claims.get(agent.agent_id)
            if claim is None or not yields(agent, self._me, claim):
                continue
            log.warning("an agent lives on elsewhere; its copy here ends", agent=show_id(agent.agent_id), node=show_id(claim[1]))
            try:
                await self._host.population.depart(agent, f"lives on {show_id(claim[1])}")
            except MootError as error:
                log.warning("a copy did not end yet", agent=show_id(agent.agent_id), reason=str(error))

    # ---- the dead -------------------------------------------------------------------------------------------------

    async def _look_after(self, departed: Departed) -> None:
        """Revive those agents of a dead node whose turn it is here."""
        claims, living, now = self._swarm.claims(), self._swarm.living(), self._runtime.monotonic()
        self._next_try = {agent_id: at for agent_id, at in self._next_try.items() if at > now}
        for agent_id, epoch in departed.agents.items():
            if agent_id in self._next_try or self._host.population.holds(agent_id):
                continue
            claim = claims.get(agent_id)
            if claim is not None and claim[0] > epoch:
                continue
            if self._me not in rendezvous(agent_id, living)[:MAX_RANK]:  # as many hashes as there are nodes: not at every look
                self._next_try[agent_id] = now + RETRY_S
                continue
            try:
                await self._consider(agent_id, departed, living)
            except MootError as error:
                self._next_try[agent_id] = now + RETRY_S
                log.info("an agent was not revived", agent=show_id(agent_id), reason=str(error))

    async def _consider(self, agent_id: bytes, departed: Departed, living: list[NodeId]) -> None:
        """Raises `MootError`."""
        homes = await self._stated(agent_id)
        home = homes.get(departed.node_id)
        if home is None or self._me not in home.guardians or self._surpassed((home.epoch + 1, self._me), homes):
            self._next_try[agent_id] = self._runtime.monotonic() + RETRY_S
            return
        turn = [node for node in home.guardians if node in living].index(self._me)
        if departed.silent_s >= CONFIRM_S + turn * STEP_S:
            await self._revive(agent_id, home)

    async def _revive(self, agent_id: bytes, home: Home) -> None:
        """Raises `MootError`."""
        population = self._host.population
        if not population.reserve(agent_id):
            self._next_try[agent_id] = self._runtime.monotonic() + RETRY_S
            log.warning("no room to revive an agent; it stays with its other guardians", agent=show_id(agent_id))
            return
        try:
            data = await self._vault.fetch(home.state, home.guardians)
            agent = await open_state(self._runtime, self._host, data, home.state, agent_id, home.epoch + 1)
            agent.entrusted = tuple(NodeId(node) for node in home.guardians)
            claim = Home(home.brain, home.founder, agent.epoch, home.state, home.guardians)
            await self._shelf.put(home_key(agent_id), SUBKEY, msgspec.msgpack.encode(claim), RECORD_S)
            if self._surpassed((agent.epoch, self._me), await self._stated(agent_id)):
                await self._shelf.put(home_key(agent_id), SUBKEY, b"", RECORD_S)
                return
            await self._host.adopt(agent, came=True)
            log.warning("an agent of a dead node lives on here", agent=show_id(agent_id), epoch=agent.epoch)
        finally:
            population.release(agent_id)

    async def _stated(self, agent_id: bytes) -> dict[NodeId, Home]:
        """Who says in the DHT that the agent lives with them; what does not decode is nobody's word."""
        found: dict[NodeId, Home] = {}
        for record in await self._shelf.get(home_key(agent_id)):
            try:
                home = read_home(record.value) if record.subkey == SUBKEY else None
            except MootError:
                continue
            if home is not None:
                found[node_id_of(record.author)] = home
        return found

    def _surpassed(self, mine: Standing, homes: dict[NodeId, Home]) -> bool:
        """Whether another guardian has revived it already."""
        return any(node != self._me and node in home.guardians and outranks((home.epoch, node), mine) for node, home in homes.items())


def yields(agent: Agent, me: NodeId, claim: Standing) -> bool:
    """Whether the copy here gives way to that claim."""
    return outranks(claim, (agent.epoch, me)) and (not agent.confirmed or claim[1] in agent.entrusted)
