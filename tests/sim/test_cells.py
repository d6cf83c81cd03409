"""The grid over simulated links: who hears whom, and what a lost node costs. Seeds stand in every failure."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from node.cells.grid import neighbours
from node.cells.home import GridHome
from node.cells.host import CellHost
from node.cells.post import BUNDLES_PER_S, Post
from node.cells.progress import Progress
from node.links.exchange import Exchange
from node.links.memory import MemoryFactory
from node.runs.manager import MAX_RUNS, RunManager
from node.tasks.colouring import Colouring
from node.tasks.registry import shipped_tasks
from node.tasks.workshop import Inline
from node.testing import World, lossy, simulate, tasks_until_left
from protocol.api.runs import RunEdit, RunInfo, RunRequest
from protocol.errors import Conflict, InvalidRequest, NotAvailable, NotFound, Refused
from protocol.identity import NodeId, parse_id, show_id
from protocol.messages import PROTOCOL_VERSION, CellBundle, CellControl, CellMessage, CellReport, CellStart, Hello, LinkMessage

PORT = 7337


@dataclass
class Site:
    """One simulated node with cells; it knows all the others."""

    world: World
    name: str
    town: list[Site]
    sent: list[tuple[NodeId, LinkMessage]] = field(default_factory=list)

    def __post_init__(self) -> None:
        runtime, self.credentials = self.world.runtime_of(self.name), self.world.credentials(self.name)
        self.node_id = self.credentials.node_id
        self.address = f"{self.world.host(self.name)}:{PORT}"
        self.factory = MemoryFactory(self.world.network, self.world.host(self.name), self.credentials)
        hello = Hello(PROTOCOL_VERSION, self.name, self.address)
        self.exchange = Exchange(runtime, self.factory, self.node_id, lambda: hello, self._resolve)
        tasks = shipped_tasks()
        self.post = Post(runtime, self.node_id, self.exchange)
        self.cells = CellHost(runtime, self.node_id, self.post)
        self.home = GridHome(runtime, self.node_id, self.cells, self.post, lambda: {site.node_id: 1.0 for site in self.town})
        self.events: list[Any] = []
        self.runs = RunManager(runtime, self.events.append)
        for job in self.home.jobs(tasks):
            self.runs.register(job)
        self.town.append(self)
        self._watch()

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        self.exchange.start(tasks)
        await self.factory.listen(self.world.host(self.name), PORT, self.exchange.accept)
        for loop in (self.post.run, self.cells.run, self.runs.run):
            tasks.create_task(loop())
        await asyncio.sleep(0)

    @property
    def said(self) -> list[tuple[NodeId, LinkMessage]]:
        """What was sent, out of its bundles."""
        return [(node_id, one) for node_id, sent in self.sent for one in (sent.messages if isinstance(sent, CellBundle) else [sent])]

    async def finished(self, request: RunRequest) -> RunInfo:
        """Start a run and wait for its end."""
        info = await self.runs.start(request)
        while info.state in ("pending", "running"):
            await asyncio.sleep(0.25)
            info = self.runs.get(info.run_id)
        return info

    def _watch(self) -> None:
        send = self.exchange.send

        async def noted(node_id: NodeId, message: LinkMessage, timeout: float = 5.0) -> None:
            self.sent.append((node_id, message))
            await send(node_id, message, timeout)

        self.exchange.send = noted  # type: ignore[method-assign]

    def _resolve(self, node_id: NodeId) -> str | None:
        return next((site.address for site in self.town if site.node_id == node_id), None)


def run(seed: int, scenario: Callable[[World, list[Site]], Awaitable[None]], nodes: int = 3) -> None:
    async def main(world: World) -> None:
        async with tasks_until_left() as tasks:
            town: list[Site] = []
            for number in range(nodes):
                await Site(world, f"n{number}", town).start(tasks)
            await scenario(world, town)

    simulate(seed, main)


def request(**params: int | float | str) -> RunRequest:
    return RunRequest("colouring", params)


# ---- what goes wrong ----------------------------------------------------------------------------------------------------


def test_what_there_is_not_is_answered_with_what_there_is() -> None:
    async def scenario(world: World, town: list[Site]) -> None:
        with pytest.raises(InvalidRequest, match="there is circle_packing"):
            await town[0].runs.start(RunRequest("knitting"))
        with pytest.raises(InvalidRequest, match="from 1 to 32"):
            await town[0].runs.start(request(size=33))
        with pytest.raises(InvalidRequest, match="it has"):
            await town[0].runs.start(request(speed=1))
        with pytest.raises(NotFound):
            town[0].runs.get(show_id(b"x" * 20))

    run(1, scenario)


def test_too_many_runs_at_once_are_refused() -> None:
    async def scenario(world: World, town: list[Site]) -> None:
        for _ in range(MAX_RUNS):
            await town[0].runs.start(request())
        with pytest.raises(NotAvailable, match="under way"):
            await town[0].runs.start(request())
        await asyncio.sleep(30)
        await town[0].runs.start(request())
        assert len(town[0].runs.list()) == MAX_RUNS

    run(1, scenario)


@pytest.mark.parametrize("fault", ["crash", "hang"])
@pytest.mark.parametrize("seed", range(1, 6))
def test_a_node_lost_in_the_middle_costs_its_own_cells_and_not_the_run(fault: str, seed: int) -> None:
    async def scenario(world: World, town: list[Site]) -> None:
        world.network.rule = lossy(loss=0.02, latency=(0.02, 0.1))
        started = await town[0].runs.start(request(size=4, iterations=20))
        while len(town[0].runs.get(started.run_id).iterations) < 5:
            await asyncio.sleep(0.1)
        lost = world.host("n2")
        (world.network.crash if fault == "crash" else world.network.hang)(lost)
        info = town[0].runs.get(started.run_id)
        while info.state == "running":
            await asyncio.sleep(0.5)
            info = town[0].runs.get(started.run_id)
        assert info.state == "done"
        last = info.iterations[-1]
        assert last.iteration == 20
        there = {cell.cell for cell in last.cells}
        gone = set(range(16)) - there
        assert gone
        assert show_id(town[2].node_id) in info.detail
        assert {cell.node_id for cell in last.cells} <= {show_id(site.node_id) for site in town[:2]}
        for cell in last.cells:
            assert set(cell.heard) == set(neighbours(4, cell.cell)) - gone

    run(seed, scenario)


def test_a_node_that_is_gone_before_the_start_does_not_stop_the_run() -> None:
    async def scenario(world: World, town: list[Site]) -> None:
        world.network.crash(world.host("n1"))
        info = await town[0].finished(request(size=3, iterations=3))
        assert info.state == "done"
        assert show_id(town[1].node_id) in info.detail
        assert info.iterations[-1].iteration == 3

    run(1, scenario)


def test_a_plan_that_makes_no_sense_is_refused() -> None:
    async def scenario(world: World, town: list[Site]) -> None:
        me, other = town[0], town[1]
        plans = {
            "unknown": CellStart(b"r" * 20, "knitting", 1, 2, 1, [other.node_id] * 4),
            "plan": CellStart(b"r" * 20, "colouring", 1, 3, 1, [other.node_id] * 4),
            "busy": CellStart(b"r" * 20, "colouring", 1, 64, 1, [other.node_id] * 4096),
        }
        assert await me.exchange.request(other.node_id, CellStart(b"q" * 20, "colouring", 1, 1, 1, [other.node_id]), 5.0)
        for code, plan in plans.items():
            with pytest.raises(Refused) as caught:
                await me.exchange.request(other.node_id, plan, 5.0)
            assert caught.value.code == code
        with pytest.raises(Refused):
            await me.exchange.request(other.node_id, CellStart(b"s" * 20, "colouring", 1, 1, 1, [me.node_id]), 5.0)

    run(1, scenario)


def test_words_put_into_a_cells_mouth_by_another_node_are_not_heard() -> None:
    """Cell 0 lives on n1, cell 1 on n2; n0 speaks for cell 1 and is ignored."""

    async def scenario(world: World, town: list[Site]) -> None:
        liar, host, silent = town
        plan = CellStart(b"r" * 20, "colouring", 1, 2, 1, [host.node_id, silent.node_id, silent.node_id, silent.node_id])
        progress = liar.home._progress[plan.run_id] = Progress(plan, Inline(Colouring({})))
        await liar.exchange.request(host.node_id, plan, 5.0)
        for iteration in (0, 1):
            await liar.exchange.send(host.node_id, CellMessage(plan.run_id, iteration, 1, 0, b"\x01"))
        await asyncio.sleep(20)
        (cell,) = progress.infos()[0].cells
        assert (cell.cell, cell.heard, cell.score) == (0, [], 0.0)

    run(1, scenario)


# ---- what should happen -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(1, 6))
def test_each_cell_hears_exactly_its_neighbours_and_the_home_only_reports(seed: int) -> None:
    async def scenario(world: World, town: list[Site]) -> None:
        world.network.rule = lossy(loss=0.05, latency=(0.005, 0.1))
        home = town[0]
        info = await home.finished(request(size=3, iterations=1))
        assert (info.state, info.detail, info.size) == ("done", "", 3)
        (iteration,) = info.iterations
        assert [cell.cell for cell in iteration.cells] == list(range(9))
        hosts = [parse_id(cell.node_id) for cell in iteration.cells]
        for cell in iteration.cells:
            assert (cell.row, cell.column) == divmod(cell.cell, 3)
            assert set(cell.heard) == set(neighbours(3, cell.cell))
        for site in town:
            for receiver, message in site.said:
                if isinstance(message, CellMessage):
                    assert receiver == hosts[message.receiver]
                    assert message.receiver in neighbours(3, message.sender)
                elif isinstance(message, CellControl):
                    assert site is home
                else:
                    assert isinstance(message, CellReport)
                    assert receiver == home.node_id

    run(seed, scenario)


def test_the_grid_settles_on_a_proper_colouring() -> None:
    async def scenario(world: World, town: list[Site]) -> None:
        info = await town[0].finished(request(size=6, iterations=30, seed=2))
        last = info.iterations[-1]
        assert last.mean == last.worst == 1.0
        colours = {cell.cell: cell.solution for cell in last.cells}
        assert all(colours[cell] != colours[other] for cell in colours for other in neighbours(6, cell))
        assert info.iterations[0].mean < 1.0
        assert list(dict.fromkeys(event["state"] for event in town[0].events)) == ["running", "done"]

    run(1, scenario)


def test_one_cell_alone_and_one_node_alone_work() -> None:
    async def scenario(world: World, town: list[Site]) -> None:
        assert (await town[0].finished(request(size=1, iterations=3))).iterations[-1].mean == 1.0
        info = await town[0].finished(request())
        assert (info.size, len(info.iterations), len(info.iterations[0].cells)) == (3, 1, 9)
        assert town[0].sent == []

    run(1, scenario, nodes=1)


def test_the_largest_grid_stays_within_what_a_link_allows() -> None:
    async def scenario(world: World, town: list[Site]) -> None:
        world.network.rule = lossy(latency=(0.001, 0.002))
        before = world.runtime.monotonic()
        info = await town[0].finished(request(size=32, iterations=2))
        assert (info.state, info.detail) == ("done", "")
        assert len(info.iterations[-1].cells) == 1024
        assert all(site.exchange.dropped == 0 for site in town)
        for site in town:
            bundles = [message for node_id, message in site.sent if isinstance(message, CellBundle)]
            assert len(bundles) == len(site.sent)
            assert len(bundles) <= 2 * BUNDLES_PER_S * (world.runtime.monotonic() - before)
            said = [one for bundle in bundles for one in bundle.messages if isinstance(one, CellMessage)]
            assert len(said) == len({(one.iteration, one.sender, one.receiver) for one in said})

    run(1, scenario)


def test_nothing_of_a_run_is_left_on_its_hosts() -> None:
    async def scenario(world: World, town: list[Site]) -> None:
        await town[0].finished(request(size=5, iterations=5))
        await asyncio.sleep(30)
        for site in town:
            assert not site.cells._runs
            assert not site.post._queues
        assert not town[0].home._progress

    run(1, scenario)


# ---- orders -------------------------------------------------------------------------------------------------------------


def test_a_run_pauses_resumes_changes_and_stops() -> None:
    async def scenario(world: World, town: list[Site]) -> None:
        world.network.rule = lossy(latency=(0.05, 0.1))
        home = town[0]
        run_id = (await home.runs.start(request(size=4, iterations=5_000))).run_id
        await asyncio.sleep(5)
        assert home.runs.order(run_id, "paused").state == "paused"
        await asyncio.sleep(15)
        there = len(home.runs.get(run_id).iterations)
        await asyncio.sleep(60)
        assert (home.runs.get(run_id).state, len(home.runs.get(run_id).iterations)) == ("paused", there)
        with pytest.raises(InvalidRequest, match="neumann, moore"):
            home.runs.edit(run_id, RunEdit({"topology": "star"}))
        with pytest.raises(InvalidRequest, match="cannot be changed"):
            home.runs.edit(run_id, RunEdit({"size": 5}))
        for name, value in (("turns", 0), ("staleness", 10**9), ("seconds", -1.0), ("seconds", "long")):
            with pytest.raises(InvalidRequest, match=name):
                home.runs.edit(run_id, RunEdit({"topology": "ring", name: value}))
        assert home.runs.get(run_id).params["topology"] == "neumann"
        home.runs.edit(run_id, RunEdit({"topology": "moore"}))
        assert home.runs.order(run_id, "running").state == "running"
        await asyncio.sleep(20)
        last = home.runs.get(run_id).iterations[-2]
        assert set(last.cells[0].heard) == set(neighbours(4, 0, "moore"))
        home.runs.order(run_id, "stopped")
        await asyncio.sleep(10)
        info = home.runs.get(run_id)
        assert (info.state, info.solution != "") == ("stopped", True)
        with pytest.raises(Conflict):
            home.runs.order(run_id, "paused")
        with pytest.raises(Conflict):
            home.runs.edit(run_id, RunEdit({"topology": "ring"}))

    run(1, scenario)


def test_asynchronous_cells_wait_for_nobody() -> None:
    async def scenario(world: World, town: list[Site]) -> None:
        world.network.rule = lossy(latency=(1.0, 2.0))
        started = world.runtime.monotonic()
        info = await town[0].finished(request(size=3, iterations=50, update="asynchronous"))
        assert info.state == "done"
        assert info.iterations[-1].iteration == 50
        assert world.runtime.monotonic() - started < 25.0

    run(1, scenario)


def test_a_task_file_of_a_peer_is_refused() -> None:
    async def scenario(world: World, town: list[Site]) -> None:
        plan = CellStart(b"r" * 20, "/tmp/theirs.py", 1, 1, 1, [town[1].node_id])
        with pytest.raises(Refused) as caught:
            await town[0].exchange.request(town[1].node_id, plan, 5.0)
        assert caught.value.code == "foreign"

    run(1, scenario)
