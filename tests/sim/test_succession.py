"""Runs that outlive their home, over simulated links: crashes, hangs, partitions, homes that come back. Seeds stand in every failure."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
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
from node.testing import World, lossy, simulate
from protocol.api.runs import RunEdit, RunInfo, RunRequest
from protocol.checkpoints import RunState, pack
from protocol.errors import NotFound
from protocol.identity import NodeId, show_id
from protocol.messages import PROTOCOL_VERSION, Hello, RunClaim
from protocol.records import Record, key_of, sign

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


@pytest.fixture(autouse=True)
def pace(monkeypatch: pytest.MonkeyPatch) -> Pace:
    step, pace = Inline.step, Pace()

    async def slow(self: Inline, *arguments: Any) -> Outcome:
        await asyncio.sleep(pace.step_s)
        return await step(self, *arguments)

    monkeypatch.setattr(Inline, "step", slow)
    return pace


class Over(Exception):
    """Ends a simulation whose nodes would run for ever."""


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
        try:
            async with asyncio.TaskGroup() as tasks:
                town = Town(world, tasks, folder, [])
                for _ in range(nodes):
                    await town.add()
                await scenario(town)
                raise Over
        except* Over:
            pass

    simulate(seed, main)


# ---- what goes wrong ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_one_home_remains_after_crashes_partitions_and_returns(tmp_path: Path, seed: int) -> None:
    async def scenario(town: Town) -> None:
        rng, network = random.Random(f"faults {seed}"), town.world.network
        first = town.sites[0]
        run_id = await town.begin(first)
        await asyncio.sleep(5.0 + 5.0 * rng.random())
        fault = ["crash", "crash and return", "hang", "partition", "partition alone"][seed % 5]
        before = first.runs.get(run_id)
        if fault.startswith("crash"):
            await first.die()
        elif fault == "hang":
            network.hang(first.host)
        else:
            others = rng.sample(town.sites[1:], fault == "partition")
            network.partition([first.host, *(site.host for site in others)])
        await town.until(lambda: any(site is not first for site in town.homes(run_id)))
        await asyncio.sleep(10.0 * rng.random())
        network.heal()
        network.wake(first.host)
        if fault == "crash and return":
            network.restart(first.host)
            town.sites.remove(first)
            back = Site(town.world, first.name, town.folder, town.sites)
            await back.start(town.tasks)
        elif fault == "crash":
            town.sites.remove(first)
        await town.until(lambda: len(town.homes(run_id)) == 1, 60.0)
        (home,) = town.homes(run_id)
        assert home is not first
        assert home.info(run_id).iterations[-1].iteration >= before.iterations[-1].iteration - 40  # type: ignore[union-attr]
        hosted = [site.cells._runs for site in town.sites]
        await town.until(lambda: all(one.home == home.node_id for runs in hosted for one in runs.values()), 20.0)
        if not fault.startswith("crash"):
            told = first.runs.get(run_id)
            assert (told.state, "taken this run over" in told.detail) == ("stopped", True)
        info = await town.finished(run_id)
        last = info.iterations[-1]
        assert (last.iteration, len(last.cells), info.detail) == (LONG, 9, "")
        assert last.mean > 0.9
        print(f"seed {seed}: {fault}; {len(info.iterations)} iterations")

    run(tmp_path, seed, scenario)


def test_heirs_that_die_are_passed_over(tmp_path: Path) -> None:
    async def scenario(town: Town) -> None:
        run_id = await town.begin(town.sites[0])
        await asyncio.sleep(4.0)
        for _ in range(3):
            (home,) = town.homes(run_id)
            await home.die()
            town.sites.remove(home)
            await town.until(lambda: len(town.homes(run_id)) == 1, 60.0)
            await asyncio.sleep(8.0)
        info = await town.finished(run_id)
        assert (info.iterations[-1].iteration, len(info.iterations[-1].cells)) == (LONG, 9)

    run(tmp_path, 1, scenario, nodes=5)


def test_a_checkpoint_that_is_none_is_not_taken_up(tmp_path: Path) -> None:
    async def scenario(town: Town) -> None:
        liar, heir = town.sites[0], town.sites[1]
        states = [b"garbage"]
        for task in ("/tmp/theirs.py", "knitting", "colouring"):
            states.append(pack(RunState(b"r" * 20, task, {}, "running", 1.0, 0, None, b"no grid")))
        for state in states:
            digest = await liar.blobs.put(state)
            run_id = town.world.runtime.token_bytes(20) if state != states[-1] else b"r" * 20
            claim = RunClaim(run_id, 0, digest, 3, [liar.node_id, heir.node_id])
            await liar.exchange.request(heir.node_id, claim, 5.0)
        await liar.blobs.spread(digest, [heir.node_id], 1)
        await liar.die()
        await asyncio.sleep(60.0)
        assert [info.state for info in heir.runs.list()] == ["failed"]
        assert "cannot be used" in heir.runs.list()[0].detail

    run(tmp_path, 1, scenario)


def test_a_plan_of_an_outranked_home_is_refused(tmp_path: Path) -> None:
    async def scenario(town: Town) -> None:
        first, second = town.sites[:2]
        run_id = await town.begin(first)
        key = first.runs._find(run_id).run_id
        await second.exchange.request(first.node_id, RunClaim(key, 1, b"d" * 32, 0, []), 5.0)
        await town.until(lambda: first.runs.get(run_id).state == "stopped")
        assert "taken this run over" in first.runs.get(run_id).detail
        other = next(site for site in town.sites[2:] if site.claims.of(key) is not None)
        with pytest.raises(NotFound, match="ask there"):
            other.runs.get(run_id)

    run(tmp_path, 1, scenario)


def test_cells_that_an_outranked_home_has_stopped_go_on_for_the_new_one(tmp_path: Path, pace: Pace) -> None:
    async def scenario(town: Town) -> None:
        first = town.sites[0]
        run_id = await town.begin(first)
        await asyncio.sleep(4.0)
        pace.step_s = 3.0
        town.world.network.hang(first.host)
        await town.until(lambda: bool(town.homes(run_id)[1:]))
        for site in town.sites[1:]:
            for hosted in site.cells._runs.values():
                hosted.settings.apply("stopped", {})
                hosted.plan = msgspec.structs.replace(hosted.plan, term=0, epoch=0)
                hosted.home = first.node_id
        (home,) = [site for site in town.homes(run_id) if site is not first]
        progress = home.home._progress[home.runs._find(run_id).run_id]
        plan = msgspec.structs.replace(progress.plan, epoch=progress.plan.epoch + 1)
        for site in town.sites[1:]:
            mine = [cell for cell, node in enumerate(plan.placement) if node == site.node_id]
            again = msgspec.structs.replace(plan, resumed=dict.fromkeys(mine, b""), reached=dict.fromkeys(mine, 1))
            site.cells.start(home.node_id, again)
        pace.step_s = 0.4
        info = await town.finished(run_id)
        assert info.iterations[-1].iteration == LONG

    run(tmp_path, 1, scenario)


def test_a_full_disk_costs_the_checkpoint_and_not_the_run(tmp_path: Path) -> None:
    async def scenario(town: Town) -> None:
        for site in town.sites:
            site.blobs._files._folder = tmp_path / "gone"
        run_id = await town.begin(town.sites[0], iterations=50)
        info = await town.finished(run_id)
        assert (info.state, info.iterations[-1].iteration) == ("done", 50)

    run(tmp_path, 1, scenario)


@pytest.mark.parametrize("phase", ["at once", "paused", "in the middle", "before the take-over", "while taking over", "after it"])
def test_a_run_can_be_stopped_in_any_phase(tmp_path: Path, pace: Pace, phase: str) -> None:
    async def scenario(town: Town) -> None:
        first = town.sites[0]
        if phase == "at once":
            run_id = (await first.runs.start(RunRequest("colouring", {"size": 3, "iterations": LONG}))).run_id
        else:
            run_id = await town.begin(first)
        home = first
        if phase == "paused":
            first.runs.order(run_id, "paused")
            await asyncio.sleep(5.0)
        elif phase in ("before the take-over", "while taking over", "after it"):
            await asyncio.sleep(4.0)
            if phase == "before the take-over":
                pace.step_s = 10.0
                await asyncio.sleep(1.0)
                first.runs.order(run_id, "stopped")
                await asyncio.sleep(2.0)
            await first.die()
            town.sites.remove(first)
            await town.until(lambda: any(site.info(run_id) is not None for site in town.sites))
            home = next(site for site in town.sites if site.info(run_id) is not None)
            if phase == "after it":
                await asyncio.sleep(5.0)
        if phase != "before the take-over":
            home.runs.order(run_id, "stopped")
        await town.until(lambda: home.runs.get(run_id).state in OVER, 30.0)
        assert home.runs.get(run_id).state == "stopped"
        await town.until(lambda: not any(site.cells._runs for site in town.sites), 40.0)
        await asyncio.sleep(60.0)
        assert town.homes(run_id) == []
        assert all(len(site.succession) == 0 for site in town.sites)

    run(tmp_path, 1, scenario)


# ---- what should happen -------------------------------------------------------------------------------------------------


def test_the_record_and_three_copies_say_where_a_run_is(tmp_path: Path) -> None:
    async def scenario(town: Town) -> None:
        first = town.sites[0]
        run_id = await town.begin(first)
        await asyncio.sleep(4.0)
        key = first.runs._find(run_id).run_id
        (record,) = await first.shelf.get(key_of(f"run {key.hex()}"))
        assert record.author == first.credentials.key.public
        assert sum(len(site.succession) for site in town.sites) == 3
        await asyncio.sleep(10.0)
        assert max(len(site.blobs) for site in town.sites) <= 2
        await town.finished(run_id)
        await asyncio.sleep(10.0)
        assert sum(len(site.succession) + len(site.blobs) for site in town.sites) == 0

    run(tmp_path, 1, scenario, nodes=6)


def test_a_paused_run_stays_paused_at_its_new_home(tmp_path: Path) -> None:
    async def scenario(town: Town) -> None:
        first = town.sites[0]
        run_id = await town.begin(first, topology="ring")
        first.runs.order(run_id, "paused")
        await asyncio.sleep(8.0)
        before = first.runs.get(run_id)
        await first.die()
        town.sites.remove(first)
        await town.until(lambda: len(town.homes(run_id)) == 1)
        (home,) = town.homes(run_id)
        await asyncio.sleep(30.0)
        info = home.runs.get(run_id)
        assert info.state == "paused"
        assert info.params == before.params
        assert before.iterations[-1].iteration <= info.iterations[-1].iteration <= before.iterations[-1].iteration + 2
        shown = {one.iteration: one.mean for one in info.iterations}
        assert all(shown[one.iteration] == one.mean for one in before.iterations[:-2])
        home.runs.order(run_id, "running")
        assert (await town.finished(run_id)).iterations[-1].iteration == LONG

    run(tmp_path, 1, scenario)


def test_cells_move_to_a_node_that_comes_and_only_to_it(tmp_path: Path) -> None:
    async def scenario(town: Town) -> None:
        first = town.sites[0]
        run_id = await town.begin(first, size=8)
        before = list(first.home._progress[first.runs._find(run_id).run_id].plan.placement)
        newcomer = await town.add(capacity=2.0)
        progress = first.home._progress[first.runs._find(run_id).run_id]
        await town.until(lambda: newcomer.node_id in progress.plan.placement, 20.0)
        after = progress.plan.placement
        changed = {cell for cell in range(64) if before[cell] != after[cell]}
        assert {after[cell] for cell in changed} == {newcomer.node_id}
        assert 12 <= len(changed) <= 32
        reached = {cell: progress.newest[cell].iteration for cell in changed}
        info = await town.finished(run_id)
        assert (info.iterations[-1].iteration, len(info.iterations[-1].cells), info.detail) == (LONG, 64, "")
        assert all(len(one.cells) == 64 for one in info.iterations[-20:])
        assert min(reached.values()) > 0
        assert len(newcomer.cells._runs) == 0

    run(tmp_path, 1, scenario)


def test_the_overlay_is_a_topology_that_can_be_switched_to(tmp_path: Path) -> None:
    async def scenario(town: Town) -> None:
        first = town.sites[0]
        run_id = await town.begin(first, size=6)
        first.runs.edit(run_id, RunEdit({"topology": "overlay"}))
        await asyncio.sleep(15.0)
        hosts = {cell.cell: cell.node_id for cell in first.runs.get(run_id).iterations[-3].cells}
        linked = {
            frozenset((hosts[cell.cell], hosts[other])) for cell in first.runs.get(run_id).iterations[-3].cells for other in cell.heard
        }
        ring = [show_id(site.node_id) for site in town.sites]
        wanted = {frozenset((ring[at - 1], node)) for at, node in enumerate(ring)} | {frozenset((node,)) for node in ring}
        assert linked == wanted
        first.runs.edit(run_id, RunEdit({"topology": "moore"}))
        assert (await town.finished(run_id)).iterations[-1].iteration == LONG

    run(tmp_path, 1, scenario)
