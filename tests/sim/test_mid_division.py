"""One node of four is killed in the middle of divisions: nobody is lost and nobody lives twice. Seeds stand in every failure."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from node.agents.handover import SETTLE_S
from node.agents.rebirth import STEP_S
from node.testing import World, lossy
from protocol.homes import CONFIRM_S, home_key, read_home
from protocol.identity import node_id_of
from protocol.messages import Birth, BirthOffer, GenomeRequest
from tests.sim.houses import THRESHOLD, Cellar, House, run
from tests.sim.losing import Losing

SEEDS = range(1, 21)
FOUNDERS = 2
WEEK_OF_TROUBLE_S = 3 * SETTLE_S


async def four(world: World, tasks: asyncio.TaskGroup, cellar: Cellar | None = None) -> list[House]:
    town: list[House] = []
    for number in range(4):
        await House(world, f"n{number}", town, agents=FOUNDERS if number == 0 else 0, cellar=cellar).start(tasks)
    return town


def census(town: list[House]) -> Counter[bytes]:
    """How often each agent lives."""
    return Counter(agent.agent_id for house in town for agent in house.residents)


def due(town: list[House]) -> int:
    """Founders, and a child for every `THRESHOLD` interactions that anybody remembers."""
    return FOUNDERS + sum(agent.interactions // THRESHOLD for house in town for agent in house.residents)


async def ask_somebody(town: list[House], rng: random.Random, times: int) -> None:
    for _ in range(times):
        house = rng.choice([house for house in town if house.residents])
        await house.ask(1, rng.choice(house.residents))


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_when_a_node_is_killed_in_the_middle_of_a_division(seed: int) -> None:
    """Killed at a random moment of the first second of a division, back after up to a minute: as many agents as the rule predicts."""

    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        world.network.rule = lossy(loss=0.1, latency=(0.005, 0.1))
        rng = random.Random(seed)
        town = await four(world, tasks)
        for _ in range(2):
            await ask_somebody(town, rng, 2 * THRESHOLD)
            await asyncio.sleep(rng.random())
            victim = rng.choice(town)
            before = census(town)
            victim.kill()
            await asyncio.sleep(rng.random() * 60)
            await victim.back(tasks)
            await asyncio.sleep(2 * SETTLE_S)
            after = census(town)
            assert set(after.values()) == {1}
            assert before.keys() <= after.keys()
            assert len(after) == due(town)
            assert all(not house.host.population.unborn for house in town)

    run(seed, scenario)


@pytest.mark.parametrize("seed", SEEDS)
def test_agents_of_a_node_that_stays_dead_live_on_once_and_its_return_changes_nothing(seed: int) -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        world.network.rule = lossy(loss=0.1, latency=(0.005, 0.1))
        rng = random.Random(seed)
        cellar = Cellar()
        town = await four(world, tasks, cellar)
        await ask_somebody(town, rng, 4 * THRESHOLD)
        await asyncio.sleep(120)  # checkpoints are made within seconds of a birth
        victim, before = rng.choice(town), census(town)
        orphans = {agent.agent_id for agent in victim.residents}
        victim.kill()
        await asyncio.sleep(CONFIRM_S - 10)
        assert not orphans & census(town).keys()
        await asyncio.sleep(3 * STEP_S)
        assert census(town) == before
        epochs = {agent.agent_id: agent.epoch for house in town for agent in house.residents}
        assert {epochs[agent_id] for agent_id in orphans} <= {1}
        await victim.back(tasks)
        await asyncio.sleep(60)
        assert census(town) == before
        assert {agent.agent_id: agent.epoch for house in town for agent in house.residents} == epochs
        assert_listed(town, cellar)

    run(seed, scenario)


def assert_listed(town: list[House], cellar: Cellar) -> None:
    """Every agent has the record of its home, and no other node says that it has it."""
    for house in town:
        for agent in house.residents:
            records = cellar.records[home_key(agent.agent_id)].values()
            assert [node_id_of(record.author) for record in records if read_home(record.value)] == [house.node_id]
    living = {home_key(agent_id) for agent_id in census(town)}
    assert all(key in living or not record.value for key, slots in cellar.records.items() for record in slots.values())


@pytest.mark.parametrize("seed", SEEDS[:8])
def test_a_node_that_leaves_moves_every_agent_and_a_lost_word_doubles_none(seed: int) -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        world.network.rule = lossy(loss=0.1, latency=(0.005, 0.1))
        rng = random.Random(seed)
        cellar = Cellar()
        town = await four(world, tasks, cellar)
        await ask_somebody(town, rng, 4 * THRESHOLD)
        await asyncio.sleep(60)
        leaver, before = rng.choice([house for house in town if house.residents]), census(town)
        state = {agent.agent_id: (agent.interactions, agent.fitness, agent.lineage) for agent in leaver.residents}
        moved = await leaver.migration.move_all(15.0)
        await leaver.homes.round()
        assert (moved.moved, moved.stayed) == (len(state), [])
        assert leaver.residents == []
        await asyncio.sleep(35)
        assert census(town) == before
        arrived = {a.agent_id: (a.interactions, a.fitness, a.lineage) for h in town for a in h.residents if a.agent_id in state}
        assert arrived == state
        assert_listed(town, cellar)
        leaver.kill()
        again = await leaver.back(tasks)
        await asyncio.sleep(60)
        assert again.residents == []
        assert census(town) == before

    run(seed, scenario)


def test_a_node_that_leaves_where_nobody_has_room_keeps_its_agents_and_says_so() -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        town: list[House] = []
        home = House(world, "home", town, agents=2)
        full = House(world, "full", town, agents=1, capacity=1)
        for house in town:
            await house.start(tasks)
        moved = await home.migration.move_all(5.0)
        assert moved.moved == 0
        assert sorted(moved.stayed) == sorted(agent.agent_id for agent in home.residents)
        assert len(home.book.rows) == 2
        assert len(full.residents) == 1

    run(1, scenario)


def test_a_birth_called_a_move_is_refused() -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        town = await four(world, tasks)
        agent = town[0].residents[0]
        offer = BirthOffer(b"x" * 20, b"p" * 20, agent.brain, 1, agent.genome_hash, len(agent.packed), [], 1, True)
        reply = await town[0].exchange.request(town[1].node_id, offer, 5.0)
        assert getattr(reply, "reason", "") == "this agent is not known to live on your node"

    run(1, scenario)


@pytest.mark.parametrize("message", [BirthOffer, GenomeRequest, Birth])
@pytest.mark.parametrize("answer", [False, True])
@pytest.mark.parametrize("losses", [1, 2, 5])
def test_a_lost_message_or_answer_at_any_step_gives_one_child(message: type, answer: bool, losses: int) -> None:
    """The first words of one kind never arrive, or are served and their answers get lost."""

    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        town: list[House] = []
        for number in range(3):
            house = House(world, f"n{number}", town, agents=int(number == 0))
            courier = Losing(house.exchange, message, answer, losses)
            house.replicator.handover._courier = house.nursery._courier = courier
            await house.start(tasks)
        await town[0].ask(THRESHOLD)
        await asyncio.sleep(WEEK_OF_TROUBLE_S)
        assert sum(len(house.children) for house in town) == 1
        assert set(census(town).values()) == {1}
        assert town[0].host.population.unborn == {}

    run(1, scenario)


def test_a_liar_about_its_room_costs_some_offers_and_no_child() -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        town: list[House] = []
        home, liar, other = House(world, "home", town), House(world, "liar", town, agents=0, capacity=1), House(world, "o", town, agents=0)
        liar.promised = 10_000
        for house in town:
            await house.start(tasks)
        assert home.census().capacity <= 16 + 4 * 8
        for _ in range(3):
            await home.ask(THRESHOLD)
            await asyncio.sleep(70)
        assert len(liar.children) == 1
        assert len(other.children) == 2

    run(1, scenario)
