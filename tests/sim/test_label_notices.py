"""Labelling projects in the DHT: who holds one is found by nodes that never heard of it, in virtual time, with real records."""

from __future__ import annotations

import asyncio

from node.label.whereabouts import AGAIN_S, MAX_FOUND, TTL_S, Whereabouts
from node.testing import lossy
from protocol.corrections import Charter
from protocol.identity import NodeId
from protocol.records import key_of
from tests.sim.tables import Swarm, run

PROJECT = "aq5hdb3uyvzl3crfvw7ldp6nlqbfnlqr"


def at(swarm: Swarm, name: str) -> Whereabouts:
    """Of a node that knows nobody alive: what it finds it finds in the DHT."""
    me = member(swarm, name)
    return Whereabouts(swarm.world.runtime_of(f"{name}, labels"), lambda: me, lambda: [me], swarm.nodes[name])


def member(swarm: Swarm, name: str) -> NodeId:
    return swarm.world.credentials(name).node_id


def charter(swarm: Swarm) -> Charter:
    key = swarm.world.credentials("n0").key
    return Charter(PROJECT, "tickets.csv", ["a", "b"], 100, "minilm", 200, [bytes([part]) * 32 for part in range(9)], key.public)


def test_a_node_that_never_heard_finds_the_holders_learners_first_though_datagrams_are_lost() -> None:
    async def story(swarm: Swarm) -> None:
        swarm.world.network.rule = lossy(loss=0.05)
        await swarm.grow(12)
        for name, learns in (("n0", False), ("n3", True), ("n5", False)):
            holder = at(swarm, name)
            assert holder.due(PROJECT)
            await holder.write(charter(swarm), 2, 7, learns=learns)
            assert not holder.due(PROJECT)
        found = await at(swarm, "n9").find(PROJECT)
        assert found[0] == member(swarm, "n3")
        assert set(found) == {member(swarm, name) for name in ("n0", "n3", "n5")}
        assert member(swarm, "n3") not in await at(swarm, "n3").find(PROJECT)

    run(1, story)


def test_what_cannot_be_read_is_passed_over_and_many_claims_cost_a_few_requests() -> None:
    async def story(swarm: Swarm) -> None:
        await swarm.grow(10)
        await at(swarm, "n0").write(charter(swarm), 2, 7, learns=True)
        key = key_of(f"moot labelling project {PROJECT}")
        for number in range(1, 9):
            await swarm.nodes[f"n{number}"].put(key, "", b"\xc1 no notice", TTL_S)
        assert await at(swarm, "n9").find(PROJECT) == [member(swarm, "n0")]
        for number in range(1, 9):
            await at(swarm, f"n{number}").write(charter(swarm), 2, 7, learns=False)
        found = await at(swarm, "n9").find(PROJECT)
        assert len(found) == MAX_FOUND
        assert found[0] == member(swarm, "n0")

    run(2, story)


def test_notices_are_written_again_and_end_with_their_writer() -> None:
    async def story(swarm: Swarm) -> None:
        await swarm.grow(6)
        holder = at(swarm, "n0")
        await holder.write(charter(swarm), 2, 7, learns=True)
        await asyncio.sleep(AGAIN_S + 1)
        assert holder.due(PROJECT)
        assert await at(swarm, "n4").find(PROJECT) == [member(swarm, "n0")]
        await asyncio.sleep(TTL_S)
        assert await at(swarm, "n4").find(PROJECT) == []

    run(3, story)
