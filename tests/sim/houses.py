"""Simulated nodes that host agents: the whole life of agents over simulated links, without a DHT, gossip or disk of their own."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from node.agents.agent import Agent
from node.agents.genome import content_hash
from node.agents.homes import Homes
from node.agents.host import AgentHost, Surroundings
from node.agents.limits import BirthRule
from node.agents.migration import Migration
from node.agents.nursery import Nursery
from node.agents.population import Data
from node.agents.rebirth import Rebirth
from node.agents.replication import Replicator
from node.agents.seams import Departed
from node.brains.base import Brain
from node.brains.registry import Team
from node.links.exchange import Exchange
from node.links.memory import MemoryFactory
from node.testing import World, simulate, tasks_until_left
from node.testing.book import MemoryBook
from node.testing.brain import ScriptedBrain
from protocol.ballots import Question
from protocol.births import Census, Household
from protocol.errors import Unreachable
from protocol.homes import Standing
from protocol.identity import NodeId
from protocol.messages import PROTOCOL_VERSION, Hello
from protocol.records import Record, merge, sign

PORT = 7337
THRESHOLD = 5


@dataclass
class Cellar:
    """What outlives every single house: signed records, blobs, and when houses died."""

    records: dict[bytes, dict[tuple[bytes, str], Record]] = field(default_factory=dict)
    blobs: dict[bytes, tuple[bytes, set[NodeId]]] = field(default_factory=dict)
    down: dict[NodeId, tuple[float, dict[bytes, int]]] = field(default_factory=dict)
    seq: int = 0


class NoTopics:
    def infer(self, question: str, choices: object) -> str | None:
        return None


@dataclass
class House:
    """One simulated node that hosts agents; it knows the room of the others as if they had announced it."""

    world: World
    name: str
    town: list[House]
    agents: int = 1
    capacity: int = 8
    births_per_minute: int = 60
    book: MemoryBook = field(default_factory=MemoryBook)
    brains: list[Brain] = field(default_factory=lambda: [ScriptedBrain()])
    with_replication: bool = True
    promised: int = 0
    """Room that the node pretends to have."""
    cellar: Cellar | None = None
    """With one, agents have records and checkpoints, and live on when their node dies."""

    def __post_init__(self) -> None:
        self.runtime = self.world.runtime_of(self.name)
        self.credentials = self.world.credentials(self.name)
        self.node_id: NodeId = self.credentials.node_id
        self.address = f"{self.world.host(self.name)}:{PORT}"
        self.events: list[tuple[str, Data]] = []
        self.factory = MemoryFactory(self.world.network, self.world.host(self.name), self.credentials)
        hello = Hello(PROTOCOL_VERSION, self.name, self.address)
        self.exchange = Exchange(self.runtime, self.factory, self.node_id, lambda: hello, self._resolve)
        around = Surroundings(on_event=lambda kind, data: self.events.append((kind, data)), key=self.credentials.key)
        teams = [Team(brain, self.agents) for brain in self.brains]
        self.host = AgentHost(
            self.runtime, self.node_id, self.book, teams, NoTopics(), (), capacity=self.capacity, surroundings=around
        )  # fmt: skip
        self.loops: list[Any] = [self.host.run]
        if self.with_replication:
            on_event = around.on_event
            rule = BirthRule(self.node_id, self.census)
            self.replicator = Replicator(
                self.runtime, self.node_id, self.host, self.exchange, self.rooms,
                rule=rule, threshold=THRESHOLD, births_per_minute=self.births_per_minute, on_event=on_event,
            )  # fmt: skip
            self.nursery = Nursery(
                self.runtime, self.host, self.exchange, rule=rule, lives_on=self.lives_on, births_per_minute=self.births_per_minute
            )  # fmt: skip
            self.migration = Migration(self.runtime, self.node_id, self.host, self.replicator.handover, self)
            self.loops += [self.replicator.run, self.nursery.run]
        if self.cellar is not None:
            self.homes = Homes(self.runtime, self.node_id, self.host.population, self, self, Vault(self))
            self.rebirth = Rebirth(self.runtime, self.node_id, self.host, self, self, Vault(self))
            self.loops += [self.homes.run, self.rebirth.run]
        self.town.append(self)

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        self.life = tasks.create_task(self._live())
        await self.host.ready.wait()

    async def _live(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            self.exchange.start(tasks)
            await self.factory.listen(self.world.host(self.name), PORT, self.exchange.accept)
            for loop in self.loops:
                tasks.create_task(loop())

    # ---- death and return ---------------------------------------------------------------------------------------------

    def kill(self) -> None:
        """As SIGKILL does: what is not in the book is gone."""
        host = self.world.host(self.name)
        self.world.network.crash(host)
        self.world.network.listeners.pop((host, PORT), None)
        self.book.broken = True
        self.life.cancel()
        self.town.remove(self)
        if self.cellar is not None:
            self.cellar.down[self.node_id] = self.runtime.monotonic(), {agent.agent_id: agent.epoch for agent in self.residents}

    async def back(self, tasks: asyncio.TaskGroup) -> House:
        """The same node again, on what its book holds."""
        self.world.network.restart(self.world.host(self.name))
        if self.cellar is not None:
            self.cellar.down.pop(self.node_id, None)
        book = MemoryBook()
        book.rows, book.deaths = dict(self.book.rows), dict(self.book.deaths)
        again = House(self.world, self.name, self.town, 0, self.capacity, self.births_per_minute, book, cellar=self.cellar)
        await again.start(tasks)
        return again

    # ---- the swarm as announced (`node.agents.seams.Swarm`) -------------------------------------------------------------

    def rooms(self) -> list[tuple[NodeId, int]]:
        return [(house.node_id, max(house.host.room(), house.promised)) for house in self.town]

    def living(self) -> list[NodeId]:
        return [house.node_id for house in self.town]

    def lives_on(self, node_id: NodeId, agent_id: bytes) -> bool:
        return any(house.node_id == node_id and house.host.population.get(agent_id) for house in self.town)

    def claims(self) -> Mapping[bytes, Sequence[Standing]]:
        found: dict[bytes, list[Standing]] = {}
        for house in self.town:
            for agent in house.residents if house is not self else ():
                found.setdefault(agent.agent_id, []).append((agent.epoch, house.node_id))
        return found

    def departed(self) -> list[Departed]:
        assert self.cellar is not None
        return [Departed(node, self.runtime.monotonic() - at, agents) for node, (at, agents) in self.cellar.down.items()]

    # ---- records (`node.agents.seams.Shelf`) ------------------------------------------------------------------------------

    async def put(self, key: bytes, subkey: str, value: bytes, ttl_s: int) -> object:
        assert self.cellar is not None
        await asyncio.sleep(0.02)
        self.cellar.seq += 1
        expires_at = int(self.runtime.now()) + ttl_s
        record = sign(self.credentials.key, key=key, subkey=subkey, seq=self.cellar.seq, value=value, expires_at=expires_at)
        self.cellar.records[key] = merge(self.cellar.records.get(key, {}).values(), [record])
        return record

    async def get(self, key: bytes) -> list[Record]:
        assert self.cellar is not None
        await asyncio.sleep(0.02)
        return [record for record in self.cellar.records.get(key, {}).values() if record.expires_at > self.runtime.now()]

    def census(self) -> Census:
        """As if everybody had just announced."""
        return Census(
            Household(
                house.node_id,
                len(house.residents),
                max(house.host.room(), house.promised),
                Counter(agent.family for agent in house.residents),
            )
            for house in self.town
        )

    @property
    def residents(self) -> list[Agent]:
        return self.host.population.all()

    @property
    def children(self) -> list[Agent]:
        return [agent for agent in self.residents if agent.parent_id]

    async def ask(self, times: int, agent: Agent | None = None) -> None:
        """Interactions for an agent (default: the first)."""
        asked = agent or self.residents[0]
        for _ in range(times):
            question = Question(self.runtime.token_bytes(20), "choice", "Which?", ["a", "b"], [], "", 0.0)
            votes, missing = await self.host.vote(question, [asked.agent_id], 1.0)
            assert len(votes) == 1, missing

    def _resolve(self, node_id: NodeId) -> str | None:
        return next((house.address for house in self.town if house.node_id == node_id), None)


class Vault:
    """Blobs of the cellar as one house reaches them (`node.agents.seams.Vault`)."""

    def __init__(self, house: House) -> None:
        assert house.cellar is not None
        self._house, self._blobs = house, house.cellar.blobs

    async def put(self, data: bytes, *, pin: bool = False) -> bytes:
        digest = content_hash(data)
        self._blobs.setdefault(digest, (data, set()))[1].add(self._house.node_id)
        return digest

    async def spread(self, digest: bytes, peers: Sequence[bytes], copies: int) -> list[bytes]:
        await asyncio.sleep(0.05)
        living = [peer for peer in peers if peer in self._house.living()][:copies]
        self._blobs[digest][1].update(NodeId(peer) for peer in living)
        return living

    async def fetch(self, digest: bytes, holders: Sequence[bytes]) -> bytes:
        data, keepers = self._blobs.get(digest, (b"", set()))
        if not keepers & set(self._house.living()):
            raise Unreachable("nobody has it")
        return data


Scenario = Callable[[World, asyncio.TaskGroup], Awaitable[None]]


def run(seed: int, scenario: Scenario) -> None:
    async def main(world: World) -> None:
        async with tasks_until_left() as tasks:
            await scenario(world, tasks)

    simulate(seed, main)


async def pair(world: World, tasks: asyncio.TaskGroup) -> tuple[House, House]:
    """A node with one agent and a node with room for children."""
    town: list[House] = []
    home, other = House(world, "home", town), House(world, "other", town, agents=0)
    for house in town:
        await house.start(tasks)
    return home, other


def family(town: list[House]) -> list[bytes]:
    """The ids of all children, wherever they live."""
    return [child.agent_id for house in town for child in house.children]
