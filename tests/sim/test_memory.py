"""The memory of a swarm in virtual time: lost datagrams, machines that round differently, a node without the embedder, one that dies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from node.memory import Memory
from node.testing import lossy
from protocol.errors import NotAvailable
from tests.sim.tables import Swarm, run
from tests.unit.meanings import Meanings, pinned

Story = Callable[[Swarm, list[Memory]], Awaitable[None]]
NODES = 6


def with_memories(seed: int, story: Story) -> None:
    """Six nodes; the last one lacks the embedder that the swarm pins."""

    async def begin(swarm: Swarm) -> None:
        swarm.world.network.rule = lossy(loss=0.02, latency=(0.002, 0.03))
        memories = []
        for number, dht in enumerate(await swarm.grow(NODES)):
            name = f"n{number}"
            embedder = pinned(swarm.world.runtime_of(f"{name} memory"), Meanings(name) if number < NODES - 1 else None)
            memories.append(Memory(swarm.world.runtime_of(name), swarm.world.credentials(name).key.public, dht, pinned=embedder))
        await story(swarm, memories)

    run(seed, begin)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_node_that_has_the_embedder_finds_what_another_kept_in_other_words(seed: int) -> None:
    async def story(swarm: Swarm, memories: list[Memory]) -> None:
        name = await memories[0].add("ferry: when does it leave?", '"at nine"')
        for memory in memories[1:-1]:
            assert [one.id for one in await memory.search("ferry, at what hour does the boat go?")] == [name]
            assert await memory.search("weather of tomorrow") == []

    with_memories(seed, story)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_node_without_the_embedder_says_so_at_once_and_still_holds_others_memories(seed: int) -> None:
    async def story(swarm: Swarm, memories: list[Memory]) -> None:
        before = swarm.world.runtime.monotonic()
        with pytest.raises(NotAvailable, match="update moot on this node"):
            await memories[-1].search("ferry")
        assert swarm.world.runtime.monotonic() == before
        name = await memories[0].add("ferry: when does it leave?", '"at nine"')
        assert swarm.nodes[f"n{NODES - 1}"].stats.records > 0
        swarm.world.network.crash(swarm.world.host("n1"))
        assert [one.id for one in await memories[2].search("ferry, at what hour does the boat go?")] == [name]

    with_memories(seed, story)
