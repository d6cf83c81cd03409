"""The DHT as a swarm: late bootstraps, loss, hung holders, strangers, growth and restarts, in virtual time."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest

from node.dht.memory import MemoryContacts, MemoryRecords
from node.dht.service import OPERATION_S, Dht
from node.dht.storage import Place
from node.testing import World, lossy, simulate
from protocol.identity import Credentials
from protocol.messages import Contact
from protocol.records import Record, key_of

PORT = 7337
HOUR_S = 3_600


class Swarm:
    """DHT nodes in a simulated world, each on its own host."""

    def __init__(self, world: World, tasks: asyncio.TaskGroup) -> None:
        self.world = world
        self.nodes: dict[str, Dht] = {}
        self._tasks = tasks
        self._lives: Counter[str] = Counter()

    async def start(
        self,
        name: str,
        bootstrap: str | None = None,
        *,
        credentials: Credentials | None = None,
        contacts: MemoryContacts | None = None,
        records: MemoryRecords | None = None,
    ) -> Dht:
        """A running node; `bootstrap` names the node it asks first. A name started again is the same member in a new process."""
        own = credentials or self.world.credentials(name)
        self._lives[name] += 1
        node = Dht(self.world.runtime_of(f"{name}, life {self._lives[name]}"), own, contacts=contacts, records=records)
        await node.listen(self.world.host(name), PORT)
        if bootstrap is not None:
            node.add_bootstrap(self.address(bootstrap))
        node.start(self._tasks)
        self.nodes[name] = node
        return node

    async def grow(self, count: int) -> list[Dht]:
        """Up to `count` nodes n0, n1, ..., each joining through a random earlier one."""
        for number in range(len(self.nodes), count):
            bootstrap = f"n{self.world.runtime.random().randrange(number)}" if number else None
            await (await self.start(f"n{number}", bootstrap)).ready()
        return list(self.nodes.values())

    def address(self, name: str) -> str:
        return f"{self.world.host(name)}:{PORT}"

    async def close(self) -> None:
        for node in self.nodes.values():
            await node.close()


@asynccontextmanager
async def swarm_in(world: World) -> AsyncIterator[Swarm]:
    async with asyncio.TaskGroup() as tasks:
        swarm = Swarm(world, tasks)
        yield swarm
        await swarm.close()


async def settled(condition: Callable[[], bool], within_s: float) -> bool:
    """Whether `condition` comes true within this much virtual time."""
    for _ in range(round(within_s * 10)):
        if condition():
            return True
        await asyncio.sleep(0.1)
    return condition()


async def values(node: Dht, key: bytes) -> list[bytes]:
    return [record.value for record in await node.get(key)]


def run(seed: int, story: Callable[[Swarm], Awaitable[None]]) -> None:
    async def main(world: World) -> None:
        async with swarm_in(world) as swarm:
            await story(swarm)

    simulate(seed, main)


# ---- getting in -----------------------------------------------------------------------------------------------------


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


# ---- values ---------------------------------------------------------------------------------------------------------


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


# ---- restarts -------------------------------------------------------------------------------------------------------


def test_records_survive_the_restart_of_every_node_at_once() -> None:
    async def story(swarm: Swarm) -> None:
        books = [MemoryRecords() for _ in range(3)]
        for number, book in enumerate(books):
            await (await swarm.start(f"n{number}", "n0" if number else None, records=book)).ready()
        await swarm.nodes["n0"].put(key_of("kept"), "", b"value", HOUR_S)
        await swarm.close()
        for number, book in enumerate(books):
            await (await swarm.start(f"n{number}", "n0" if number else None, records=book)).ready()
        assert await values(swarm.nodes["n2"], key_of("kept")) == [b"value"]

    run(1, story)


def test_closing_in_the_middle_of_a_save_loses_nothing() -> None:
    class SlowDisk(MemoryRecords):
        slow = True

        async def save(self, records: list[Record], gone: list[Place]) -> None:
            if self.slow:
                await asyncio.sleep(60)
            await super().save(records, gone)

    async def story(swarm: Swarm) -> None:
        disk = SlowDisk()
        node = await swarm.start("node", records=disk)
        await node.put(key_of("kept"), "", b"value", HOUR_S)
        await asyncio.sleep(1)
        disk.slow = False
        await node.close()
        assert [record.value for record in disk.saved.values()] == [b"value"]

    run(1, story)


def test_a_peer_that_lost_its_sessions_is_heard_again_at_once() -> None:
    async def story(swarm: Swarm) -> None:
        caller, peer = await swarm.grow(2)
        await caller.put(key_of("x"), "", b"1", HOUR_S)
        await peer.close()
        await swarm.start("n1")  # same key, same address, no memory
        started = swarm.world.runtime.monotonic()
        assert (await caller.put(key_of("y"), "", b"2", HOUR_S)).replicas == 2
        assert swarm.world.runtime.monotonic() - started < 0.6

    run(1, story)


# ---- the simulation itself ------------------------------------------------------------------------------------------


TRACE = """
import asyncio
from node.dht.service import Dht
from node.testing import World, lossy, simulate

async def main(world: World) -> str:
    world.network.rule = lossy(loss=0.05, duplicate=0.05)
    async with asyncio.TaskGroup() as tasks:
        nodes = []
        for name in "abcdefgh":
            node = Dht(world.runtime_of(name), world.credentials(name))
            await node.listen(world.host(name), 7337)
            node.add_bootstrap(world.host("a") + ":7337")
            node.start(tasks)
            nodes.append(node)
        await asyncio.sleep(10)
        await nodes[1].put(Dht.key_of("k"), "", b"v", 3600)
        await asyncio.sleep(4000)
        assert [r.value for r in await nodes[7].get(Dht.key_of("k"))] == []
        for node in nodes:
            await node.close()
    return world.network.trace()

print(simulate(5, main))
"""


def test_equal_seeds_give_equal_traces_in_any_process() -> None:
    traces = [
        subprocess.run(
            [sys.executable, "-c", TRACE], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    ]
    assert traces[0] == traces[1] != ""
