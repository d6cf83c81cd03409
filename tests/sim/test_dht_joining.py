"""Getting into the DHT: late bootstraps, loss, strangers, partitions, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from node.dht.memory import MemoryContacts
from node.testing import World, lossy
from protocol.identity import Credentials
from protocol.messages import Contact
from protocol.records import key_of
from tests.sim.tables import HOUR_S, PORT, Swarm, run, settled


def test_a_bootstrap_peer_that_comes_up_late_is_found() -> None:
    async def story(swarm: Swarm) -> None:
        early = await swarm.start("early", bootstrap="late")
        await early.ready()
        assert not early.joined
        assert swarm.world.runtime.monotonic() < 1.5, "a node is ready though nobody answers"
        await asyncio.sleep(600)
        await swarm.start("late")
        assert await settled(lambda: early.joined, 80)

    run(1, story)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_join_ends_with_contacts_where_a_tenth_of_all_datagrams_is_lost(seed: int) -> None:
    async def story(swarm: Swarm) -> None:
        swarm.world.network.rule = lossy(loss=0.1)
        nodes = await swarm.grow(40)
        assert await settled(lambda: all(node.joined for node in nodes[1:]), 10)
        assert all(node.contacts for node in nodes)

    run(seed, story)


def test_a_node_of_another_swarm_gets_into_no_table() -> None:
    async def story(swarm: Swarm) -> None:
        others = World(99, lambda: 0.0, swarm.world.network).credentials("stranger")
        await swarm.grow(3)
        spy = Credentials(others.key, others.leaf, others.keeper, swarm.world.credentials("n0").root)
        for name, credentials in (("stranger", others), ("spy", spy)):
            stranger = await swarm.start(name, "n0", credentials=credentials)
            await asyncio.sleep(60)
            assert not stranger.joined
            assert stranger.contacts == []
        assert all(len(swarm.nodes[f"n{i}"].contacts) == 2 for i in range(3))
        assert swarm.nodes["n0"].stats.dropped["stranger"] > 0
        assert swarm.nodes["n0"].stats.dropped["BadSignature"] > 0 or swarm.nodes["spy"].stats.dropped["BadSignature"] > 0

    run(1, story)


def test_an_address_that_answers_as_another_member_is_not_taken_for_the_one_named() -> None:
    async def story(swarm: Swarm) -> None:
        liar, honest = await swarm.grow(2)
        victim = await swarm.start("victim")
        missing = swarm.world.credentials("missing").node_id
        victim.seen(Contact(missing, swarm.world.host("n0"), PORT))
        await asyncio.sleep(30)
        assert missing not in [contact.node_id for contact in victim.contacts]
        assert liar.stats.contacts == honest.stats.contacts == 1

    run(1, story)


def test_a_member_that_the_overlay_names_is_met_and_one_that_cannot_be_reached_is_not_flooded() -> None:
    async def story(swarm: Swarm) -> None:
        node, other = await swarm.start("node"), await swarm.start("other")
        there = Contact(swarm.world.credentials("other").node_id, swarm.world.host("other"), PORT)
        gone = Contact(swarm.world.credentials("gone").node_id, swarm.world.host("gone"), PORT)
        before = swarm.world.network.sent
        for _ in range(600):
            node.seen(there)
            node.seen(gone)
            await asyncio.sleep(0.1)
        assert [contact.node_id for contact in node.contacts] == [there.node_id]
        assert len(other.contacts) == 1
        assert swarm.world.network.sent - before < 80

    run(1, story)


def test_a_partition_heals() -> None:
    async def story(swarm: Swarm) -> None:
        nodes = await swarm.grow(6)
        swarm.world.network.partition([swarm.world.host(f"n{i}") for i in range(3)])
        for node in nodes:
            await node.get(key_of("who notices"))
        await asyncio.sleep(HOUR_S)
        assert all(len(node.contacts) == 2 for node in nodes)
        swarm.world.network.heal()
        assert await settled(lambda: all(len(node.contacts) == 5 for node in nodes), 400)

    run(1, story)


def test_a_node_with_saved_contacts_comes_back_though_its_bootstrap_is_gone() -> None:
    async def story(swarm: Swarm) -> None:
        book = MemoryContacts()
        await swarm.grow(3)
        node = await swarm.start("again", "n0", contacts=book)
        await node.ready()
        await node.close()
        swarm.world.network.crash(swarm.world.host("n0"))
        again = await swarm.start("again", "n0", contacts=book)
        await again.ready()
        assert again.joined

    run(1, story)
