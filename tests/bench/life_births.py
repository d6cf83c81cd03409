"""What one birth on another node costs: two nodes in one process, real TLS links over loopback, real databases on disk."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median

from node.agents.book import SqliteBook
from node.agents.host import AgentHost, Surroundings
from node.agents.nursery import Nursery
from node.agents.population import Data
from node.agents.replication import Replicator
from node.brains.registry import Team
from node.brains.tiny import TinyBrain
from node.links.exchange import Exchange
from node.links.wss import WssFactory
from node.runtime import SystemRuntime
from node.store import Store
from node.testing import Swarm, tasks_until_left
from protocol.ballots import Question
from protocol.identity import Credentials, NodeId
from protocol.messages import PROTOCOL_VERSION, Hello
from tests.bench.life_world import NoTopics

BIRTHS = 40
WAIT_S = 10.0
RUNTIME = SystemRuntime()


class _Home:
    """One node: links, database, agents, both sides of a division."""

    def __init__(self, folder: Path, credentials: Credentials, agents: int, addresses: dict[NodeId, str]) -> None:
        self.id = credentials.node_id
        self._addresses = addresses
        self.born: asyncio.Queue[str] = asyncio.Queue()
        self.factory = WssFactory(credentials)
        hello = Hello(PROTOCOL_VERSION, "bench", "")
        self.exchange = Exchange(RUNTIME, self.factory, self.id, lambda: hello, addresses.get)
        self.store = Store(folder, RUNTIME)
        around = Surroundings(key=credentials.key)
        self.host = AgentHost(
            RUNTIME, self.id, SqliteBook(self.store), [Team(TinyBrain(), agents)], NoTopics(), (), capacity=256, surroundings=around
        )
        self.replicator = Replicator(
            RUNTIME, self.id, self.host, self.exchange, self._rooms, threshold=1, births_per_minute=10_000, on_event=self._heard
        )
        self.nursery = Nursery(RUNTIME, self.host, self.exchange, births_per_minute=10_000)

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        self.exchange.start(tasks)
        host, port = await self.factory.listen("127.0.0.1", 0, self.exchange.accept)
        self._addresses[self.id] = f"{host}:{port}"
        for loop in (self.host.run, self.replicator.run, self.nursery.run):
            tasks.create_task(loop())
        await self.host.ready.wait()

    def _rooms(self) -> list[tuple[NodeId, int]]:
        return [(node_id, 100) for node_id in self._addresses]

    def _heard(self, kind: str, data: Data) -> None:
        self.born.put_nowait(str(data["agent_id"]))


def births_ms() -> dict[str, float]:
    """From the vote that makes an agent ripe to the word that its child is on disk and alive on the other node."""
    return asyncio.run(_measure())


async def _measure() -> dict[str, float]:
    waits: list[float] = []
    swarm, addresses = Swarm(RUNTIME), dict[NodeId, str]()
    with tempfile.TemporaryDirectory() as scratch:
        homes = [_Home(Path(scratch) / str(agents), swarm.credentials(), agents, addresses) for agents in (1, 0)]
        async with AsyncExitStack() as stack:
            for home in homes:
                stack.callback(home.store.close)
            async with tasks_until_left() as tasks:
                for home in homes:
                    await home.start(tasks)
                for number in range(BIRTHS + 1):
                    waits.append(await _one(homes[0], number))
                for home in homes:
                    await home.factory.close()
        assert len(homes[1].host.population.all()) == BIRTHS + 1
    ordered = sorted(waits[1:])  # the first birth dials the link
    return {"birth_first_ms": waits[0], "birth_p50_ms": median(ordered), "birth_p95_ms": ordered[int(0.95 * len(ordered))]}


async def _one(home: _Home, number: int) -> float:
    (agent,) = home.host.population.all()
    began = RUNTIME.monotonic()
    question = Question(number.to_bytes(20, "big"), "embedding", "", [], [0.5] * 16, "", 0.0)
    votes, missing = await home.host.vote(question, [agent.agent_id], WAIT_S)
    assert len(votes) == 1, missing
    async with asyncio.timeout(WAIT_S):
        await home.born.get()
    return (RUNTIME.monotonic() - began) * 1e3
