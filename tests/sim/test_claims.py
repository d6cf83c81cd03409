"""Claims to agents that live elsewhere: what a lying member can end, and how often an unlucky agent is revived."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from node.agents.absence import BELIEVED_S
from node.agents.agent import Agent
from node.agents.rebirth import REVIVALS, STEP_S, WATCH_S
from node.testing import World
from protocol.homes import CONFIRM_S, Standing
from protocol.identity import NodeId
from tests.sim.houses import Cellar, House, run


async def village(world: World, tasks: asyncio.TaskGroup, nodes: int = 4) -> tuple[list[House], Agent]:
    """Nodes that keep each other's checkpoints, and the one agent of the first, long after all of them started."""
    town, cellar = list[House](), Cellar()
    for number in range(nodes):
        await House(world, f"n{number}", town, agents=int(number == 0), cellar=cellar, with_replication=False).start(tasks)
    await asyncio.sleep(BELIEVED_S + 60.0)
    (agent,) = town[0].residents
    return town, agent


def claims(house: House, found: Mapping[bytes, list[Standing]]) -> None:
    """What that node hears the others claim."""
    house.claims = lambda: found  # type: ignore[method-assign]


def claims_besides(house: House, agent_id: bytes, lie: Standing) -> None:
    """That node hears a lie besides what is true."""
    true = house.claims
    house.claims = lambda: {**(found := true()), agent_id: [lie, *found.get(agent_id, ())]}  # type: ignore[method-assign]


def out_of_touch(house: House, node: NodeId, seconds: float) -> None:
    """That node is dead to `house`, and has been for so long."""
    assert house.cellar is not None
    house.cellar.down[node] = house.runtime.monotonic() - seconds, {}


@pytest.mark.parametrize("ahead", [1, 2, 2**62])
def test_a_guardian_that_was_never_out_of_touch_ends_no_agent(ahead: int) -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        (home, *_), agent = await village(world, tasks)
        guardian = agent.entrusted[0]
        claims(home, {agent.agent_id: [(agent.epoch + ahead, guardian)]})
        await asyncio.sleep(3 * WATCH_S)
        assert home.residents == [agent]

    run(1, scenario)


def test_a_guardian_that_was_out_of_touch_is_believed_one_epoch_and_no_high_one() -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        (home, *_), agent = await village(world, tasks)
        guardian = agent.entrusted[0]
        out_of_touch(home, guardian, CONFIRM_S)
        await asyncio.sleep(2 * WATCH_S)
        assert home.cellar is not None
        del home.cellar.down[guardian]
        claims(home, {agent.agent_id: [(agent.epoch + 50, guardian)]})
        await asyncio.sleep(3 * WATCH_S)
        assert home.residents == [agent]
        claims(home, {agent.agent_id: [(agent.epoch + 50, guardian), (agent.epoch + 1, guardian)]})
        await asyncio.sleep(3 * WATCH_S)
        assert home.residents == []

    run(1, scenario)


def test_a_stranger_is_not_believed_even_after_a_silence() -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        (home, *others), agent = await village(world, tasks, nodes=6)
        stranger = next(house.node_id for house in others if house.node_id not in agent.entrusted)
        out_of_touch(home, stranger, 2 * CONFIRM_S)
        await asyncio.sleep(2 * WATCH_S)
        claims(home, {agent.agent_id: [(agent.epoch + 1, stranger)]})
        await asyncio.sleep(3 * WATCH_S)
        assert home.residents == [agent]

    run(1, scenario)


def test_an_impossible_epoch_does_not_keep_a_dead_nodes_agent_from_living_on() -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        (home, *others), agent = await village(world, tasks)
        home.kill()
        for house in others:
            claims_besides(house, agent.agent_id, (2**62, NodeId(b"l" * 20)))
        await asyncio.sleep(CONFIRM_S + 3 * STEP_S)
        assert [found.agent_id for house in others for found in house.residents] == [agent.agent_id]

    run(1, scenario)


def test_an_agent_whose_homes_die_one_after_another_is_revived_so_many_times_an_hour() -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        town, agent = await village(world, tasks, nodes=REVIVALS + 4)
        began = world.runtime.monotonic()
        for revived in range(1, REVIVALS + 2):
            next(house for house in town if house.residents).kill()
            await asyncio.sleep(CONFIRM_S + 4 * STEP_S)
            found = [one for house in town for one in house.residents]
            assert [one.agent_id for one in found] == ([agent.agent_id] if revived <= REVIVALS else [])
            await asyncio.sleep(60.0)
        await asyncio.sleep(1_000.0)
        assert world.runtime.monotonic() - began < 3_600.0
        assert not any(house.residents for house in town)

    run(1, scenario)
