"""Values in the DHT: many writers, hung and forging holders, growth and loss, in virtual time."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from node.dht.service import OPERATION_S
from protocol.records import key_of
from tests.sim.tables import HOUR_S, Swarm, run, values


@pytest.mark.parametrize("seed", [1, 2])
def test_eight_writers_of_one_key_are_all_visible_to_every_reader(seed: int) -> None:
    async def story(swarm: Swarm) -> None:
        nodes = await swarm.grow(30)
        key = key_of("contended")
        async with asyncio.TaskGroup() as tasks:
            for number in range(8):
                tasks.create_task(nodes[number * 3].put(key, "", bytes([number]) * 500, HOUR_S))
        for node in nodes:
            assert sorted(value[0] for value in await values(node, key)) == list(range(8))

    run(seed, story)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_values_survive_the_loss_of_every_node_that_was_there_when_they_were_written(seed: int) -> None:
    async def story(swarm: Swarm) -> None:
        nodes = await swarm.grow(20)
        keys = [key_of(f"key {number}") for number in range(100)]
        for number, key in enumerate(keys):
            await nodes[number % 20].put(key, "", b"%d" % number, HOUR_S)
        nodes = await swarm.grow(60)
        await asyncio.sleep(10)
        for number in range(20):
            swarm.world.network.crash(swarm.world.host(f"n{number}"))
        found = [await values(nodes[20 + number % 40], key) for number, key in enumerate(keys)]
        survived = sum(value == [b"%d" % number] for number, value in enumerate(found))
        print(f"seed {seed}: {survived} of 100 keys survive")
        assert survived >= 99

    run(seed, story)


def test_a_hung_holder_does_not_hold_up_a_get() -> None:
    async def story(swarm: Swarm) -> None:
        nodes = await swarm.grow(12)
        key = key_of("somewhere")
        await nodes[0].put(key, "", b"value", HOUR_S)
        holders = [i for i, node in enumerate(nodes) if node.stats.records]
        reader = next(node for i, node in enumerate(nodes) if i not in holders)
        swarm.world.network.hang(swarm.world.host(f"n{holders[0]}"))
        started = swarm.world.runtime.monotonic()
        assert await values(reader, key) == [b"value"]
        assert swarm.world.runtime.monotonic() - started < 1.0

    run(1, story)


def test_a_get_ends_by_its_deadline_whoever_hangs() -> None:
    async def story(swarm: Swarm) -> None:
        nodes = await swarm.grow(30)
        for number in range(1, 30):
            swarm.world.network.hang(swarm.world.host(f"n{number}"))
        started = swarm.world.runtime.monotonic()
        assert await values(nodes[0], key_of("nothing")) == []
        assert swarm.world.runtime.monotonic() - started <= OPERATION_S

    run(1, story)


def test_a_forged_record_in_a_holders_hands_reaches_no_reader() -> None:
    async def story(swarm: Swarm) -> None:
        nodes = await swarm.grow(6)
        key = key_of("truth")
        await nodes[0].put(key, "", b"true", HOUR_S)
        true = (await nodes[0].get(key))[0]
        forged = msgspec.structs.replace(true, seq=true.seq + 1, value=b"false")
        for node in nodes[1:]:
            node._storage._hold(forged, None, b"", 0.0)  # all the others are hostile
        assert await values(nodes[0], key) == [b"true"]

    run(1, story)


def test_a_deleted_value_stays_deleted_though_a_holder_missed_it() -> None:
    async def story(swarm: Swarm) -> None:
        nodes = await swarm.grow(6)
        key = key_of("regret")
        await nodes[0].put(key, "", b"said", 5 * HOUR_S)
        asleep = next(i for i in range(1, 6) if nodes[i].stats.records)
        swarm.world.network.hang(swarm.world.host(f"n{asleep}"))
        await nodes[0].delete(key, "")
        swarm.world.network.wake(swarm.world.host(f"n{asleep}"))
        assert nodes[asleep].stats.records == 1
        await asyncio.sleep(3 * HOUR_S)  # long enough for the sleeper to republish what it believes
        for node in nodes:
            assert await values(node, key) == []

    run(1, story)


def test_republishing_keeps_a_value_and_never_extends_its_life() -> None:
    async def story(swarm: Swarm) -> None:
        nodes = await swarm.grow(8)
        key = key_of("short")
        result = await nodes[0].put(key, "", b"value", 6 * HOUR_S)
        await asyncio.sleep(5.9 * HOUR_S)
        assert [record.expires_at for record in await nodes[7].get(key)] == [result.expires_at]
        await asyncio.sleep(0.2 * HOUR_S)
        assert await values(nodes[7], key) == []
        assert all(node.stats.records == 0 for node in nodes)

    run(1, story)


def test_holders_that_die_are_replaced_within_an_hour() -> None:
    async def story(swarm: Swarm) -> None:
        nodes = await swarm.grow(16)
        key = key_of("precious")
        await nodes[0].put(key, "", b"value", 24 * HOUR_S)
        for generation in range(2):
            hosts = {swarm.world.host(f"n{i}"): node for i, node in enumerate(nodes)}
            holders = [host for host, node in hosts.items() if node.stats.records and not swarm.world.network.crashed(host)]
            assert len(holders) >= 5, f"generation {generation}"
            for host in holders[:3]:
                swarm.world.network.crash(host)
            await asyncio.sleep(1.5 * HOUR_S)
        reader = next(node for host, node in hosts.items() if not swarm.world.network.crashed(host))
        assert await values(reader, key) == [b"value"]

    run(1, story)


def test_a_write_counts_its_replicas_and_a_lone_node_keeps_its_own() -> None:
    async def story(swarm: Swarm) -> None:
        lone = (await swarm.grow(1))[0]
        assert (await lone.put(key_of("a"), "", b"1", HOUR_S)).replicas == 1
        before = lone.joined
        await swarm.grow(3)
        assert (before, lone.joined) == (False, True), "being found is a way in too"
        assert (await lone.put(key_of("b"), "", b"2", HOUR_S)).replicas == 3
        await swarm.grow(9)
        assert (await lone.put(key_of("c"), "", b"3", HOUR_S)).replicas == 5
        assert await values(swarm.nodes["n8"], key_of("a")) == [b"1"]

    run(1, story)


def test_a_writer_whose_clock_went_back_still_replaces_its_own_value() -> None:
    async def story(swarm: Swarm) -> None:
        await swarm.grow(5)
        key, credentials = key_of("mine"), swarm.world.credentials("writer")
        ahead = await swarm.start("writer", "n0", credentials=credentials)
        await ahead.ready()
        ahead._last_seq = int((swarm.world.runtime.now() + 600) * 1000)  # its clock was ten minutes fast
        await ahead.put(key, "", b"old", HOUR_S)
        await ahead.close()
        again = await swarm.start("writer", "n0", credentials=credentials)
        await again.ready()
        await again.put(key, "", b"new", HOUR_S)
        assert await values(swarm.nodes["n1"], key) == [b"new"]

    run(1, story)
