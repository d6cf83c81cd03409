"""Agents that go: what happens at the same time must neither double nor lose one, nor stop the node."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping

import pytest

from node.agents import nursery
from node.agents.behind import SAVE_S
from node.agents.homes import AGENT_S, Homes
from node.testing import World
from node.testing.book import MemoryBook
from protocol.homes import home_key
from protocol.identity import Member
from protocol.messages import BirthOffer, BirthReply
from protocol.records import Record
from tests.sim.houses import THRESHOLD, Cellar, House, Vault, run


class SlowBook(MemoryBook):
    """Changes reach the disk in the order in which they were asked for, and late."""

    def __init__(self) -> None:
        super().__init__()
        self._turn = asyncio.Lock()
        self.delay_s = 0.0

    async def save(self, rows: Mapping[bytes, bytes]) -> None:
        async with self._turn:
            await asyncio.sleep(self.delay_s)
            await super().save(rows)

    async def bury(self, agent_id: bytes, at: float, reason: str) -> None:
        async with self._turn:
            await asyncio.sleep(self.delay_s)
            await super().bury(agent_id, at, reason)


def test_a_node_told_twice_to_leave_moves_each_agent_once() -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        town: list[House] = []
        home = House(world, "home", town, agents=6)
        for name in ("one", "two", "three"):
            House(world, name, town, agents=0)
        for house in town:
            await house.start(tasks)
        async with asyncio.TaskGroup() as both:
            first = both.create_task(home.migration.move_all(15.0))
            await asyncio.sleep(0.001)
            second = both.create_task(home.migration.move_all(15.0))
        assert first.result().moved == second.result().moved == 6
        everybody = Counter(agent.agent_id for house in town for agent in house.residents)
        assert len(everybody) == 6
        assert set(everybody.values()) == {1}

    run(1, scenario)


def test_records_are_taken_off_by_two_rounds_at_once() -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        cellar, town = Cellar(), list[House]()
        home = House(world, "home", town, agents=4, cellar=cellar, with_replication=False)
        await home.start(tasks)
        await asyncio.sleep(60.0)
        agents = home.residents
        for agent in agents:
            await home.host.population.depart(agent, "moved")
        async with asyncio.TaskGroup() as both:
            for _ in range(2):
                both.create_task(home.homes.round())
        for agent in agents:
            assert [record.value for record in await home.get(home_key(agent.agent_id))] == [b""]

    run(1, scenario)


def test_an_agent_that_goes_while_its_record_is_written_has_none_in_the_end() -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        cellar, town = Cellar(), list[House]()
        home, other = House(world, "home", town, cellar=cellar, with_replication=False), House(world, "other", town, agents=0)
        for house in (home, other):
            await house.start(tasks)
        (agent,) = home.residents
        homes = Homes(home.runtime, home.node_id, home.host.population, home, home, Vault(home))
        async with asyncio.TaskGroup() as both:
            both.create_task(homes.round())
            await asyncio.sleep(0.001)
            await home.host.population.depart(agent, "moved")
            both.create_task(homes.round())
        await homes.round()
        assert [record.value for record in await home.get(home_key(agent.agent_id))] in ([], [b""])
        assert homes._stated == {}

    run(1, scenario)


def test_an_agent_that_departs_is_not_written_down_again() -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        book, town = SlowBook(), list[House]()
        home = House(world, "home", town, agents=2, book=book, with_replication=False)
        await home.start(tasks)
        gone, other = home.residents
        book.delay_s = 3 * SAVE_S
        async with asyncio.TaskGroup() as both:
            both.create_task(home.host.population.depart(gone, "moved"))
            await asyncio.sleep(0.0)
            await home.ask(1, gone)
            await home.host.population.note(gone)
            await asyncio.sleep(2 * SAVE_S)
        await asyncio.sleep(10 * SAVE_S)
        assert list(book.rows) == [other.agent_id]

    run(1, scenario)


def test_nobody_is_born_or_dies_for_a_child_on_a_node_that_leaves() -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        town: list[House] = []
        home = House(world, "home", town, agents=3)
        await home.start(tasks)
        before = {agent.agent_id for agent in home.residents}
        home.host.close_doors()
        await home.ask(THRESHOLD)
        await asyncio.sleep(30.0)
        assert {agent.agent_id for agent in home.residents} == before

    run(1, scenario)


def test_children_born_at_once_do_not_share_a_place() -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        town: list[House] = []
        book = SlowBook()
        home = House(world, "home", town, agents=4, capacity=5, book=book)
        await home.start(tasks)
        book.delay_s = 0.2
        for agent in home.residents[:3]:
            await home.ask(THRESHOLD, agent)
        most = 0
        for _ in range(300):
            await asyncio.sleep(0.1)
            most = max(most, len(home.residents))
        assert most == 5

    run(1, scenario)


def test_a_node_that_never_fetched_an_agent_is_not_believed_to_have_it() -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        town: list[House] = []
        home, liar = House(world, "home", town, agents=2), House(world, "liar", town, agents=0, with_replication=False)
        for house in town:
            await house.start(tasks)

        async def mine(peer: Member, offer: BirthOffer) -> BirthReply:
            return BirthReply(True, "it lives here", 0.0)

        liar.exchange.on(BirthOffer, mine)
        moved = await home.migration.move_all(15.0)
        assert moved.moved == 0
        assert len(moved.stayed) == len(home.residents) == 2

    run(1, scenario)


def test_a_full_node_checks_no_descent(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        town: list[House] = []
        home, full = House(world, "home", town, agents=1), House(world, "full", town, agents=1, capacity=1)
        for house in town:
            await house.start(tasks)
        checked: list[object] = []
        monkeypatch.setattr(nursery, "check_lineage", lambda *arguments: checked.append(arguments))
        agent = home.residents[0]
        offer = BirthOffer(
            b"c" * 20, agent.agent_id, agent.brain, 1, agent.genome_hash, len(agent.packed), list(agent.lineage)
        )  # fmt: skip
        reply = await home.exchange.request(full.node_id, offer, 5.0)
        assert getattr(reply, "reason", "") == "no room"
        assert checked == []

    run(1, scenario)


def test_a_peer_that_never_answers_does_not_keep_records_of_other_agents_back() -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        cellar, town = Cellar(), list[House]()
        home = House(world, "home", town, agents=4, cellar=cellar, with_replication=False)
        await home.start(tasks)
        stuck, *others = home.residents

        class Stuck:
            async def put(self, key: bytes, subkey: str, value: bytes, ttl_s: int) -> object:
                if key == home_key(stuck.agent_id):
                    await asyncio.Event().wait()
                return await home.put(key, subkey, value, ttl_s)

            async def get(self, key: bytes) -> list[Record]:
                return await home.get(key)

        cellar.records.clear()
        homes = Homes(home.runtime, home.node_id, home.host.population, Stuck(), home, Vault(home))
        began = world.runtime.monotonic()
        rounds = tasks.create_task(homes.round())
        await asyncio.sleep(1.0)
        assert [len(await home.get(home_key(agent.agent_id))) for agent in (stuck, *others)] == [0, 1, 1, 1]
        await rounds
        assert world.runtime.monotonic() - began < AGENT_S + 1.0

    run(1, scenario)
