"""Division over simulated links: every child is born once or not at all, whatever is lost. Seeds stand in every failure."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from node.agents.handover import SETTLE_S
from node.brains.base import Brain
from node.links.exchange import Exchange
from node.testing import World, lossy
from node.testing.brain import ScriptedBrain
from protocol.errors import Unreachable
from protocol.identity import NodeId
from protocol.messages import Birth, LinkMessage
from tests.sim.houses import THRESHOLD, House, family, pair, run
from tests.sim.test_offers import offer, offer_of

SEEDS = range(1, 41)


# ---- no room ------------------------------------------------------------------------------------------------------------


def test_with_no_room_elsewhere_the_child_is_born_at_home() -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        town: list[House] = []
        home = House(world, "home", town)
        full = House(world, "full", town, agents=1, capacity=1)
        for house in town:
            await house.start(tasks)
        await home.ask(THRESHOLD)
        await asyncio.sleep(2)
        assert len(home.children) == 1
        assert full.children == []

    run(1, scenario)


def test_with_no_room_at_home_either_the_least_fit_dies_and_never_the_parent() -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        home = House(world, "home", [], agents=3, capacity=3)
        await home.start(tasks)
        parent, weak, fit = home.residents
        await home.host.rate([parent.agent_id], 0.0, None, b"q" * 20)
        await home.host.rate([parent.agent_id], 0.0, None, b"q" * 20)
        await home.host.rate([weak.agent_id], 0.0, None, b"q" * 20)
        await home.ask(THRESHOLD, parent)
        await asyncio.sleep(2)
        assert {agent.agent_id for agent in home.residents} >= {parent.agent_id, fit.agent_id}
        assert weak.agent_id in home.book.deaths
        assert len(home.children) == 1
        assert [kind for kind, _ in home.events] == ["death", "birth"]

    run(1, scenario)


def test_a_lone_agent_without_room_has_no_child_and_lives_on() -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        home = House(world, "home", [], agents=1, capacity=1)
        await home.start(tasks)
        await home.ask(2 * THRESHOLD)
        await asyncio.sleep(2)
        assert len(home.residents) == 1
        assert home.children == []

    run(1, scenario)


def test_one_brains_children_do_not_push_out_anothers_agents() -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        brains: list[Brain] = [ScriptedBrain("one"), ScriptedBrain("two")]
        home = House(world, "home", [], agents=1, capacity=2, brains=brains)
        await home.start(tasks)
        await home.ask(THRESHOLD)
        await asyncio.sleep(2)
        assert sorted(agent.brain for agent in home.residents) == ["one", "two"]
        assert home.children == []

    run(1, scenario)


# ---- what should happen -------------------------------------------------------------------------------------------------


def test_after_five_interactions_a_mutated_child_lives_on_another_node() -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        home, other = await pair(world, tasks)
        parent = home.residents[0]
        await home.ask(THRESHOLD - 1)
        await asyncio.sleep(5)
        assert family(home.town) == []
        await home.ask(1)
        await asyncio.sleep(5)
        (child,) = other.children
        assert (child.parent_id, child.generation, child.brain) == (parent.agent_id, 1, parent.brain)
        assert child.genome_hash != parent.genome_hash
        assert child.agent_id in other.book.rows
        assert [kind for kind, _ in home.events] == [kind for kind, _ in other.events] == ["birth"]
        assert home.events[0][1] == other.events[0][1]
        await other.ask(1, child)

    run(1, scenario)


def test_births_are_limited_and_none_is_lost() -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        home = House(world, "home", [], agents=4, capacity=32, births_per_minute=2)
        await home.start(tasks)
        for agent in home.residents:
            await home.ask(THRESHOLD, agent)
        await asyncio.sleep(30)
        assert len(home.children) == 2
        await asyncio.sleep(60)
        assert len(home.children) == 4

    run(1, scenario)


class Forgetful:
    """An exchange on which the first words of a birth get lost."""

    def __init__(self, exchange: Exchange, losses: int) -> None:
        self._exchange, self.losses = exchange, losses

    async def request(self, node_id: NodeId, message: LinkMessage, timeout: float) -> LinkMessage:
        if isinstance(message, Birth) and self.losses:
            self.losses -= 1
            raise Unreachable("lost")
        return await self._exchange.request(node_id, message, timeout)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exchange, name)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_child_is_born_exactly_once_when_the_word_of_its_birth_is_lost(seed: int) -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        world.network.rule = lossy(loss=0.2, duplicate=0.05, latency=(0.005, 0.4))
        town: list[House] = []
        for number in range(4):
            house = House(world, f"n{number}", town, agents=int(number == 0))
            house.nursery._courier = Forgetful(house.exchange, 5)
            await house.start(tasks)
        await town[0].ask(THRESHOLD)
        await asyncio.sleep(SETTLE_S)
        assert len(family(town)) == 1
        assert [kind for kind, _ in town[0].events] == ["birth"]

    run(seed, scenario)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_child_lives_twice_when_nodes_vanish_in_the_middle(seed: int) -> None:
    """One node hangs, is cut off or dies at a random moment of the first divisions, and comes back a while later."""

    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        world.network.rule = lossy(loss=0.1, latency=(0.005, 0.3))
        rng = random.Random(seed)
        town: list[House] = []
        for number in range(4):
            await House(world, f"n{number}", town, agents=int(number == 0)).start(tasks)
        victim = world.host(f"n{rng.randrange(1, 4)}")
        network = world.network
        faults: list[tuple[Callable[[], None], Callable[[], None]]] = [
            (partial(network.hang, victim), partial(network.wake, victim)),
            (partial(network.partition, [victim]), network.heal),
            (partial(network.crash, victim), partial(network.restart, victim)),
        ]
        await town[0].ask(THRESHOLD)
        for _ in range(3):
            await asyncio.sleep(rng.random() * 1.5)
            fault, mend = rng.choice(faults)
            fault()
            await asyncio.sleep(rng.random() * 40)
            mend()
            await town[0].ask(THRESHOLD)
        await asyncio.sleep(2 * SETTLE_S)
        born = family(town)
        assert len(born) == len(set(born))
        assert len(born) >= 2
        assert [kind for kind, _ in town[0].events] == ["birth"] * len(born)
        assert all(house.host.population.room() + len(house.residents) == house.capacity for house in town)

    run(seed, scenario)


def test_a_foster_node_that_restarts_answers_that_the_child_lives_there() -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        home, other = await pair(world, tasks)
        await home.ask(THRESHOLD)
        await asyncio.sleep(3)
        (child,) = other.children
        again = House(world, "again", home.town, agents=0, book=other.book)
        await again.start(tasks)
        assert [agent.agent_id for agent in again.residents] == [child.agent_id]
        assert (await offer(home, again, offer_of(home, child_id=child.agent_id))).reserved_until == 0.0

    run(1, scenario)
