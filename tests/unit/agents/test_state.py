"""A grown agent as bytes: the round trip, and everything that a peer could have changed in it."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from node.agents.agent import Agent, AgentRow, born, read_row
from node.agents.fitness import Fitness
from node.agents.genome import content_hash
from node.agents.host import AgentHost, Surroundings
from node.agents.state import MOST_PENDING, open_state, state_of
from node.testing import World, simulate
from node.testing.brain import ScriptedBrain
from protocol.errors import BadSignature, Malformed, PeerError
from protocol.homes import Home, outranks, read_home, rendezvous
from protocol.identity import NodeId
from tests.unit.agents.house import host

A, B, C = (NodeId(bytes([one]) * 20) for one in (1, 2, 3))


def with_agent(check: Any) -> None:
    """`check(runtime, host, agent)` in a host with one agent that has lived a little."""

    async def main(world: World) -> None:
        import asyncio

        runtime = world.runtime_of("n")
        home: AgentHost = host(runtime, ScriptedBrain(), agents=1, canaries=(), surroundings=Surroundings(key=world.key("n")))
        task = asyncio.get_running_loop().create_task(home.run())
        await home.ready.wait()
        agent = home.population.all()[0]
        child = born(agent.genome, runtime.now(), home.me, home.key, runtime.token_bytes(16), agent)
        child.interactions, child.fitness = 7, Fitness(3.0, 1.0, runtime.now(), {"sums": (2.0, 0.0)})
        child.entrusted, child.confirmed = (A, B), False
        try:
            await check(runtime, home, child)
        finally:
            task.cancel()

    simulate(1, main)


def test_a_state_comes_back_whole_and_an_epoch_on() -> None:
    async def check(runtime: Any, home: AgentHost, agent: Agent) -> None:
        data = state_of(agent)
        found = await open_state(runtime, home, data, content_hash(data), agent.agent_id, 1)
        assert (found.agent_id, found.epoch, found.entrusted, found.confirmed) == (agent.agent_id, 1, (), True)
        assert (found.interactions, found.fitness, found.lineage, found.genome_hash) == (
            agent.interactions, agent.fitness, agent.lineage, agent.genome_hash,
        )  # fmt: skip

    with_agent(check)


@pytest.mark.parametrize(
    "changed",
    [
        {"agent_id": b"x" * 20},
        {"epoch": 9},
        {"unborn": True},
        {"fitness": Fitness(math.inf, 0.0)},
        {"fitness": Fitness(1e9, 0.0)},
        {"fitness": Fitness(-1.0, 0.0)},
        {"fitness": Fitness(1.0, 1.0, 0.0, {"sums": (1e9, 0.0)})},
        {"novelty": math.nan},
        {"novelty": 1e9},
        {"interactions": -1},
        {"generation": 9},
        {"lineage": []},
        {"genome": b"not a genome"},
    ],
)
def test_a_state_that_was_tampered_with_starts_nothing(changed: dict[str, Any]) -> None:
    async def check(runtime: Any, home: AgentHost, agent: Agent) -> None:
        row: AgentRow = msgspec.structs.replace(read_row(state_of(agent)), **changed)
        data = msgspec.msgpack.encode(row)
        with pytest.raises((Malformed, BadSignature, PeerError)):
            await open_state(runtime, home, data, content_hash(data), agent.agent_id, 1)

    with_agent(check)


def test_a_state_that_claims_endless_answers_divides_a_few_times_at_once() -> None:
    async def check(runtime: Any, home: AgentHost, agent: Agent) -> None:
        data = msgspec.msgpack.encode(msgspec.structs.replace(read_row(state_of(agent)), since_division=2**62))
        found = await open_state(runtime, home, data, content_hash(data), agent.agent_id, 1)
        assert found.since_division == MOST_PENDING

    with_agent(check)


def test_bytes_of_another_hash_start_nothing() -> None:
    async def check(runtime: Any, home: AgentHost, agent: Agent) -> None:
        with pytest.raises(Malformed):
            await open_state(runtime, home, state_of(agent), bytes(32), agent.agent_id, 1)

    with_agent(check)


def test_of_two_copies_exactly_one_goes_on() -> None:
    assert outranks((2, B), (1, A))
    assert not outranks((1, A), (2, B))
    assert outranks((1, A), (1, B))
    assert not outranks((1, B), (1, A))
    assert not outranks((1, A), (1, A))


def test_every_node_asks_the_same_nodes_to_look_after_an_agent() -> None:
    nodes = [NodeId(bytes([one]) * 20) for one in range(30)]
    assert rendezvous(b"a" * 20, nodes) == rendezvous(b"a" * 20, reversed(nodes))
    assert rendezvous(b"a" * 20, nodes)[:3] != rendezvous(b"b" * 20, nodes)[:3]


def test_a_record_of_a_home_fits_into_the_dht_and_rubbish_is_refused() -> None:
    largest = Home("b" * 64, b"f" * 20, 2**62, b"s" * 32, [b"g" * 20] * 8)
    assert len(msgspec.msgpack.encode(largest)) <= 320
    assert read_home(b"") is None
    with pytest.raises(Malformed):
        read_home(b"\xff\xff")
