"""After a node's death its agents live on elsewhere; when it comes back, its own copies give way.

A node counts as dead for good after `CONFIRM_S` of silence. Its agents are those that it announced last. Each has a record in the DHT that
names the keepers of its checkpoint, in order: the first that lives revives it, the next only `STEP_S` later, and so on. Before it lives,
its new home states in the DHT that it does, one epoch on, and looks whether somebody else was faster.

Two copies can still come to be (a partition, or a node that was only cut off). They see each other in the announcements, and the lower
standing gives way. A stranger's claim counts for nothing: a node yields an agent only to nodes that it entrusted it to, or where the one
that sent the agent never heard that it arrived. To a node it entrusted, it yields only where the two were out of touch by its own view
(`absence.py`), and only to an epoch that can have come about meanwhile; other claims are ignored and logged. What remains: a node that
keeps an agent's checkpoint and plays dead for two minutes can still take that agent over, and for ten minutes after this node started
nobody knows better than those who kept its agents.

An agent is revived `REVIVALS` times an hour at most: one whose node dies each time it comes to live is given up, for its record expires.
"""

from __future__ import annotations

import asyncio

import msgspec
import structlog

from node.agents.absence import BELIEVED_S, Absence
from node.agents.agent import Agent
from node.agents.host import AgentHost
from node.agents.seams import Departed, Shelf, Swarm, Vault
from node.agents.state import open_state
from node.runtime import Runtime
from protocol.errors import MootError
from protocol.homes import CONFIRM_S, COPIES, MAX_GIVEN_UP, SUBKEY, Home, Standing, believable, home_key, outranks, read_home, rendezvous
from protocol.identity import NodeId, node_id_of, show_id

WATCH_S = 5.0
STEP_S = 60.0
"""How much longer each further guardian waits."""
RETRY_S = 60.0
RECORD_S = 3_600
REVIVALS = 3
HOUR_S = 3_600.0
MAX_WARNED = 1_024
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
        self._next_try: dict[tuple[NodeId, bytes], float] = {}
        """(dead node, agent of it) -> when it is looked at again."""
        self._absence = Absence(runtime.monotonic())
        self._new_here: dict[bytes, float] = {}
        """Agents revived here lately, and until when another guardian that did the same is believed."""
        self._warned: dict[tuple[bytes, NodeId], float] = {}

    async def run(self) -> None:
        """Until cancelled."""
        await self._host.ready.wait()
        while True:
            self._absence.look(self._runtime.monotonic(), {one.node_id: one.silent_s for one in self._swarm.departed()})
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
            better = [claim for claim in claims.get(agent.agent_id, ()) if outranks(claim, (agent.epoch, self._me))]
            yielded = [claim for claim in better if self._yields(agent, claim)]
            if not yielded:
                for claim in better:
                    self._warn(agent, claim)
                continue
            node = yielded[0][1]
            log.warning("an agent lives on elsewhere; its copy here ends", agent=show_id(agent.agent_id), node=show_id(node))
            try:
                await self._host.population.depart(agent, f"lives on {show_id(node)}")
            except MootError as error:
                log.warning("a copy did not end yet", agent=show_id(agent.agent_id), reason=str(error))

    def _yields(self, agent: Agent, claim: Standing) -> bool:
        """Whether the copy here gives way to a claim that outranks it."""
        epoch, node = claim
        if not agent.confirmed:  # its sender may have given it up and elsewhere since, an epoch on for every node that fell silent
            return epoch <= agent.epoch + MAX_GIVEN_UP
        if node not in agent.entrusted:
            return False
        if self._host.population.capacity == 0:  # this node leaves: the claim is of a node that was offered the agent
            return epoch == agent.epoch + 1
        if agent.agent_id in self._new_here and epoch <= agent.epoch + 1:  # two guardians revived it
            return True
        silence_s = self._absence.of(node, self._runtime.monotonic())
        return silence_s >= CONFIRM_S and believable(claim, agent.epoch, silence_s)

    def _warn(self, agent: Agent, claim: Standing) -> None:
        """Once in a while for each, of so many at most."""
        now, key = self._runtime.monotonic(), (agent.agent_id, claim[1])
        self._warned = {known: until for known, until in self._warned.items() if until > now}
        if key not in self._warned and len(self._warned) < MAX_WARNED:
            self._warned[key] = now + BELIEVED_S
            log.warning("a claim to an agent is ignored", agent=show_id(key[0]), node=show_id(key[1]), epoch=claim[0], here=agent.epoch)

    # ---- the dead -------------------------------------------------------------------------------------------------

    async def _look_after(self, departed: Departed) -> None:
        """Revive those agents of a dead node whose turn it is here."""
        claims, living, now = self._swarm.claims(), self._swarm.living(), self._runtime.monotonic()
        self._next_try = {key: at for key, at in self._next_try.items() if at > now}
        self._new_here = {agent_id: until for agent_id, until in self._new_here.items() if until > now}
        for agent_id, epoch in departed.agents.items():
            if (departed.node_id, agent_id) in self._next_try or self._host.population.holds(agent_id):
                continue
            if any(epoch < claim[0] and believable(claim, epoch, departed.silent_s) for claim in claims.get(agent_id, ())):
                continue
            if self._me not in rendezvous(agent_id, living)[:MAX_RANK]:  # as many hashes as there are nodes: not at every look
                self._put_off(departed, agent_id)
                continue
            try:
                await self._consider(agent_id, departed, living)
            except MootError as error:
                self._put_off(departed, agent_id)
                log.info("an agent was not revived", agent=show_id(agent_id), reason=str(error))

    async def _consider(self, agent_id: bytes, departed: Departed, living: list[NodeId]) -> None:
        """Raises `MootError`."""
        homes = await self._stated(agent_id)
        home = homes.get(departed.node_id)
        if home is None or self._me not in home.guardians or self._went_on(agent_id, home, homes, departed.silent_s):
            self._put_off(departed, agent_id)
            return
        turn = [node for node in home.guardians if node in living].index(self._me)
        if departed.silent_s >= CONFIRM_S + turn * STEP_S:
            await self._revive(agent_id, home, departed)

    async def _revive(self, agent_id: bytes, home: Home, departed: Departed) -> None:
        """Raises `MootError`."""
        population = self._host.population
        if not population.reserve(agent_id):
            self._put_off(departed, agent_id)
            log.warning("no room to revive an agent; it stays with its other guardians", agent=show_id(agent_id))
            return
        try:
            data = await self._vault.fetch(home.state, home.guardians)
            agent = await open_state(self._runtime, self._host, data, home.state, agent_id, home.epoch + 1)
            now = self._runtime.now()
            lately = [at for at in agent.revived if 0.0 <= now - at < HOUR_S]
            if len(lately) >= REVIVALS:
                self._put_off(departed, agent_id, HOUR_S - (now - min(lately)))
                log.warning("an agent was revived too often within the hour", agent=show_id(agent_id))
                return
            agent.revived = (*lately, now)
            agent.entrusted = tuple(NodeId(node) for node in home.guardians)
            claim = Home(home.brain, home.founder, agent.epoch, home.state, home.guardians)
            await self._shelf.put(home_key(agent_id), SUBKEY, msgspec.msgpack.encode(claim), RECORD_S)
            if self._surpassed((agent.epoch, self._me), await self._stated(agent_id), departed.silent_s):
                await self._shelf.put(home_key(agent_id), SUBKEY, b"", RECORD_S)
                return
            await self._host.adopt(agent, came=True)
            self._new_here[agent_id] = self._runtime.monotonic() + BELIEVED_S
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

    def _put_off(self, departed: Departed, agent_id: bytes, seconds: float = RETRY_S) -> None:
        self._next_try[departed.node_id, agent_id] = self._runtime.monotonic() + seconds

    def _went_on(self, agent_id: bytes, home: Home, homes: dict[NodeId, Home], silent_s: float) -> bool:
        """Whether a guardian of that home has revived it since. One that died before anybody heard that it did counts for nothing; one that
        died later left a record of its own to go on from."""
        unheard = {one.node_id for one in self._swarm.departed() if agent_id not in one.agents}
        later = [(other.epoch, node) for node, other in homes.items() if node in home.guardians and node not in unheard]
        return any(claim[0] > home.epoch and believable(claim, home.epoch, silent_s) for claim in later)

    def _surpassed(self, mine: Standing, homes: dict[NodeId, Home], silent_s: float) -> bool:
        """Whether another guardian was faster."""
        claims = [(home.epoch, node) for node, home in homes.items() if node != self._me and node in home.guardians]
        return any(outranks(claim, mine) and believable(claim, mine[0] - 1, silent_s) for claim in claims)
