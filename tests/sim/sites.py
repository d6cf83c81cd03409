"""Simulated nodes that host runs, which outlive their homes: crashes, hangs and partitions as a town sees them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from node.blobs import Blobs
from node.cells.home import GridHome
from node.cells.host import CellHost
from node.cells.post import Post
from node.links.exchange import Exchange
from node.links.memory import MemoryFactory
from node.runs.claims import Claims
from node.runs.manager import RunManager
from node.runs.run import OVER
from node.runs.succession import Succession
from node.tasks.registry import shipped_tasks
from node.tasks.workshop import Inline, Outcome
from node.testing import World, lossy, simulate, tasks_until_left
from protocol.api.runs import RunInfo, RunRequest
from protocol.errors import NotFound
from protocol.identity import NodeId
from protocol.messages import PROTOCOL_VERSION, Hello
from protocol.records import Record, sign

PORT = 7337
LONG = 120
"""Iterations: a minute."""
SEEDS = range(1, 21)
SEEN_S = 4.0
"""How long the town believes in a node that nobody hears any more."""


class Shelf:
    """The DHT's record of each home, as far as it can be reached: one for each side of a partition, merged when it ends."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.records: dict[tuple[bytes, bytes], Record] = {}
        self._seq = 0

    async def put(self, key: bytes, subkey: str, value: bytes, ttl_s: int) -> object:
        self._seq += 1
        site = self._site
        expires_at = int(site.runtime.now()) + ttl_s
        record = sign(site.credentials.key, key=key, subkey=subkey, seq=self._seq, value=value, expires_at=expires_at)
        for other in site.reached():
            other.shelf.records[key, record.author] = record
        return record

    async def get(self, key: bytes) -> list[Record]:
        found: dict[bytes, Record] = {}
        for site in self._site.reached():
            for (place, author), record in site.shelf.records.items():
                if place == key and (author not in found or found[author].seq < record.seq):
                    found[author] = record
        return list(found.values())


@dataclass
class Site:
    """One simulated node with cells, runs and checkpoints; it learns of deaths `SEEN_S` after they happen."""

    world: World
    name: str
    folder: Path
    town: list[Site]
    capacity: float = 1.0
    loops: list[asyncio.Task[None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.runtime, self.credentials = self.world.runtime_of(self.name), self.world.credentials(self.name)
        self.node_id, self.host = self.credentials.node_id, self.world.host(self.name)
        self.seen: dict[NodeId, float] = {}
        self.shelf = Shelf(self)
        self.town.append(self)

    def build(self, tasks: asyncio.TaskGroup) -> None:
        """A process, new: nothing of an earlier one but its blobs."""
        hello = Hello(PROTOCOL_VERSION, self.name, f"{self.host}:{PORT}")
        self.factory = MemoryFactory(self.world.network, self.host, self.credentials)
        self.exchange = Exchange(self.runtime, self.factory, self.node_id, lambda: hello, self._resolve)
        self.post, self.claims = Post(self.runtime, self.node_id, self.exchange), Claims()
        self.blobs = Blobs(self.runtime, self.folder / self.name, self.exchange)
        self.cells = CellHost(self.runtime, self.node_id, self.post, cores=1, claims=self.claims, overlay=self.neighbours)
        self.runs = RunManager(self.runtime)
        self.home = GridHome(self.runtime, self.node_id, self.cells, self.post, self.living, self.claims)
        self.succession = Succession(self.runtime, self.node_id, self.exchange, self.blobs, self.runs, self.claims, self.living, self.shelf)
        for job in self.home.jobs(shipped_tasks()):
            self.runs.register(job)
        self.exchange.start(tasks)
        self.loops = [tasks.create_task(loop()) for loop in (self.post.run, self.cells.run, self.runs.run, self.succession.run)]

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        self.build(tasks)
        await self.factory.listen(self.host, PORT, self.exchange.accept)
        await asyncio.sleep(0)

    async def die(self) -> None:
        """SIGKILL."""
        self.world.network.crash(self.host)
        for loop in self.loops:
            loop.cancel()
        await asyncio.wait(self.loops)
        await self.factory.close()

    def reached(self) -> list[Site]:
        return [site for site in self.town if site is self or not self.world.network.severed(self.host, site.host)]

    def living(self) -> dict[NodeId, float]:
        now = self.runtime.monotonic()
        for site in self.reached():
            self.seen[site.node_id] = now
        return {site.node_id: site.capacity for site in self.town if now - self.seen.get(site.node_id, -SEEN_S) < SEEN_S}

    def neighbours(self) -> list[NodeId]:
        """A ring of all nodes."""
        at = self.town.index(self)
        return [self.town[at - 1].node_id, self.town[(at + 1) % len(self.town)].node_id]

    def info(self, run_id: str) -> RunInfo | None:
        try:
            return self.runs.get(run_id)
        except NotFound:
            return None

    def _resolve(self, node_id: NodeId) -> str | None:
        return next((f"{site.host}:{PORT}" for site in self.town if site.node_id == node_id), None)


@dataclass
class Pace:
    """How long a proposal takes, also for a node that is alone: nobody is done before a partition ends."""

    step_s: float = 0.4


def slowed(monkeypatch: pytest.MonkeyPatch) -> Pace:
    """Every proposal of this test takes its time."""
    step, pace = Inline.step, Pace()

    async def slow(self: Inline, *arguments: Any) -> Outcome:
        await asyncio.sleep(pace.step_s)
        return await step(self, *arguments)

    monkeypatch.setattr(Inline, "step", slow)
    return pace


@dataclass
class Town:
    """The world of one scenario."""

    world: World
    tasks: asyncio.TaskGroup
    folder: Path
    sites: list[Site]

    async def add(self, capacity: float = 1.0) -> Site:
        site = Site(self.world, f"n{len(self.sites)}", self.folder, self.sites, capacity)
        await site.start(self.tasks)
        return site

    def homes(self, run_id: str) -> list[Site]:
        """Where the run is under way."""
        return [site for site in self.sites if (info := site.info(run_id)) is not None and info.state not in OVER]

    async def until(self, condition: Callable[[], bool], seconds: float = 300.0) -> None:
        """Look again until it holds."""
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.1)

    async def begin(self, home: Site, **params: int | float | str) -> str:
        """A run of a few minutes, on its way."""
        request = RunRequest("colouring", {"size": 3, "iterations": LONG, **params})
        run_id = (await home.runs.start(request)).run_id
        await self.until(lambda: home.runs.get(run_id).progress > 0.01)
        return run_id

    async def finished(self, run_id: str) -> RunInfo:
        """The one page of the run that says it is done."""
        await self.until(lambda: any((info := site.info(run_id)) is not None and info.state == "done" for site in self.sites), 600.0)
        (info,) = [info for site in self.sites if (info := site.info(run_id)) is not None and info.state == "done"]
        return info


def run(folder: Path, seed: int, scenario: Callable[[Town], Awaitable[None]], nodes: int = 4) -> None:
    async def main(world: World) -> None:
        world.network.rule = lossy(loss=0.02, latency=(0.02, 0.1))
        async with tasks_until_left() as tasks:
            town = Town(world, tasks, folder, [])
            for _ in range(nodes):
                await town.add()
            await scenario(town)

    simulate(seed, main)
