"""Keeps each agent's record in the DHT and its checkpoint on peers (`protocol.homes`).

A record is written when an agent comes, renewed well before it expires, and emptied when the agent dies or moves. The checkpoint is the
agent's whole state as a blob, copied to `COPIES` peers; it is made when the agent comes, when fewer keep it than could, every
`CHECKPOINT_S` if the agent changed, and with each renewal of the record: a keeper drops what nobody has asked about for long. What
happened to it since then is lost with its node.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import msgspec
import structlog

from node.agents.agent import Agent
from node.agents.population import Population
from node.agents.seams import Shelf, Swarm, Vault
from node.agents.state import state_of
from node.runtime import Runtime
from protocol.errors import MootError
from protocol.homes import COPIES, SUBKEY, Home, home_key, rendezvous
from protocol.identity import NodeId, show_id

RECORD_S = 3_600
RENEW_S = RECORD_S / 2
CHECKPOINT_S = 300.0
ROUND_S = 30.0
SETTLE_S = 0.5
"""Changes within this time share one round."""
MAX_ENTRUSTED = 16
AT_ONCE = 8
AGENT_S = 30.0
"""For one agent: its checkpoint copied to peers and its record written."""

log = structlog.get_logger("agents")


@dataclass(frozen=True, slots=True)
class _Stated:
    """What the DHT was told of one agent."""

    home: Home
    at: float
    checked_at: float
    """When its state was last compared with the checkpoint."""


class Homes:
    """Owns this node's records of agents. `run` it in the daemon's TaskGroup."""

    def __init__(self, runtime: Runtime, me: NodeId, population: Population, shelf: Shelf, swarm: Swarm, vault: Vault | None) -> None:
        """Without a `vault` there are records but no checkpoints."""
        self._runtime = runtime
        self._me = me
        self._population = population
        self._shelf = shelf
        self._swarm = swarm
        self._vault = vault
        self._stated: dict[bytes, _Stated] = {}
        self._news = asyncio.Event()

    def changed(self) -> None:
        """Somebody came or went: look soon."""
        self._news.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.round()
            try:
                async with asyncio.timeout(ROUND_S):
                    await self._news.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(SETTLE_S)

    async def round(self) -> None:
        """Bring the DHT up to date, `AT_ONCE` agents at a time; what fails or takes longer than `AGENT_S` is tried again in the next
        round."""
        self._news.clear()
        waiting: list[Callable[[], Awaitable[None]]] = [partial(self._state, agent) for agent in reversed(self._population.all())]
        waiting += [self._withdraw_next] * len(self._population.gone)

        async def lane() -> None:
            while waiting:
                work = waiting.pop()
                try:
                    async with asyncio.timeout(AGENT_S):
                        await work()
                except TimeoutError:
                    log.info("a record of an agent took too long; it waits for the next round")

        async with asyncio.TaskGroup() as lanes:
            for _ in range(min(AT_ONCE, len(waiting))):
                lanes.create_task(lane())

    async def _withdraw_next(self) -> None:
        """Two rounds at once (the node leaves) share what there is; what fails or is cut short stays for the next."""
        gone = self._population.gone
        if not gone:
            return
        agent_id, done = gone.popleft(), False
        try:
            done = self._population.get(agent_id) is not None or await self._withdraw(agent_id)
        finally:
            if not done:
                gone.append(agent_id)

    async def _state(self, agent: Agent) -> None:
        if self._population.get(agent.agent_id) is not agent:
            return
        now, old = self._runtime.monotonic(), self._stated.get(agent.agent_id)
        if old is not None and old.home.epoch == agent.epoch and now - old.at < RENEW_S:
            patience = CHECKPOINT_S if self._guarded(old.home) else ROUND_S
            if now - old.checked_at < patience:
                return
        try:
            lasting = old is not None and old.home.epoch == agent.epoch and now - old.at < RENEW_S
            home = await self._checkpoint(agent, old.home if old is not None and lasting else None)
            if self._population.get(agent.agent_id) is not agent:
                return
            if old is None or home != old.home or now - old.at >= RENEW_S:
                try:
                    await self._shelf.put(home_key(agent.agent_id), SUBKEY, msgspec.msgpack.encode(home), RECORD_S)
                finally:
                    if self._population.get(agent.agent_id) is not agent:  # it went while this was written, or while the time ran out
                        self._population.gone.append(agent.agent_id)
                old = _Stated(home, now, now)
            if self._population.get(agent.agent_id) is not agent:
                return
            self._stated[agent.agent_id] = _Stated(home, old.at, now)
        except MootError as error:
            log.info("where an agent lives was not written down", agent=show_id(agent.agent_id), reason=str(error))

    async def _checkpoint(self, agent: Agent, old: Home | None) -> Home:
        """The record's value, after its state was copied to peers. Raises `MootError`."""
        founder = agent.family if agent.lineage else b""
        if self._vault is None:
            return Home(agent.brain[:64], founder, agent.epoch)
        living = set(self._swarm.living()) - {self._me}
        guardians = [NodeId(node) for node in old.guardians if node in living] if old is not None else []
        digest = await self._vault.put(state_of(agent))
        if old is None or digest != old.state or len(guardians) < min(COPIES, len(living)):
            wanted = rendezvous(agent.agent_id, living)[: 2 * COPIES]
            kept = await self._vault.spread(digest, wanted, COPIES)
            guardians = [NodeId(node) for node in wanted if node in kept]
            await self._entrust(agent, guardians)
        return Home(agent.brain[:64], founder, agent.epoch, digest if guardians else b"", list(guardians))

    def _guarded(self, home: Home) -> bool:
        """Whether as many keep its checkpoint as could."""
        others = set(self._swarm.living()) - {self._me}
        return self._vault is None or len(others.intersection(home.guardians)) >= min(COPIES, len(others))

    async def _entrust(self, agent: Agent, guardians: list[NodeId]) -> None:
        """On disk before the record names them: this node will know whom to give way to. Raises `NotAvailable`."""
        entrusted = tuple(dict.fromkeys([*guardians, *agent.entrusted]))[:MAX_ENTRUSTED]
        if set(entrusted) != set(agent.entrusted) and self._population.get(agent.agent_id) is agent:
            agent.entrusted = entrusted
            await self._population.note(agent)

    async def _withdraw(self, agent_id: bytes) -> bool:
        """An empty value that lives as long as the one that it hides."""
        try:
            await self._shelf.put(home_key(agent_id), SUBKEY, b"", RECORD_S)
        except MootError as error:
            log.info("a record of an agent that left is still there", agent=show_id(agent_id), reason=str(error))
            return False
        self._stated.pop(agent_id, None)
        return True
