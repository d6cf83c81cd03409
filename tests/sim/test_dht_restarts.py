"""DHT nodes that stop and start again, and the simulation itself: equal seeds give equal traces."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

from node.dht.memory import MemoryRecords
from node.dht.storage import Place
from protocol.records import Record, key_of
from tests.sim.tables import HOUR_S, Swarm, run, values


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
