"""A swarm in one process, in virtual time, on a hostile network, repeatable to the byte.

    from node.testing import World, lossy, simulate

    def test_value_survives_a_partition() -> None:
        async def main(world: World) -> bytes:
            world.network.rule = lossy(loss=0.05, duplicate=0.01, latency=(0.005, 0.2))
            nodes = [await start_node(world, f"n{i}") for i in range(50)]
            world.network.partition([world.host(f"n{i}") for i in range(25)])
            await asyncio.sleep(3600)                                       # an hour passes at once
            world.network.heal()
            return await nodes[0].get("key")

        assert simulate(7, main) == b"value"                                # a failure shows the seed in its traceback

A node takes `world.host(name)`, `world.runtime_of(name)` and `world.credentials(name)`; its datagrams come from
`loop.create_datagram_endpoint(factory, local_addr=(host, port))`, its links from `MemoryFactory(world.network, host, credentials)`
in `node.links.memory`. TLS, real sockets and threads are not simulated; live tests cover them. Equal seeds give equal traces
(`world.network.trace()`) in any process, as long as the code under test iterates over no set of strings, bytes or coroutines.

    loop.py        SimLoop: a loop whose `time()` jumps to the next timer; Deadlock when there is none
    network.py     SimNetwork: one seeded rule decides each packet's fate; partition, hang, crash; the trace
    runtime.py     SimRuntime: virtual clocks, seeded randomness, blocking work inline
    libraries.py   rebind_libraries: kademlia's and rpcudp's own clock and randomness, rebound in those modules only
    swarm.py       Swarm: a root and a keeper in memory that issue credentials, for simulated and for real clocks
    tasks.py       tasks_until_left: a TaskGroup for nodes that would run for ever
    tokens.py      MemoryTokenBook: join tokens in memory
    brain.py       ScriptedBrain: says what a test tells it to say
    book.py        MemoryBook: durable agents without a disk
    simulation.py  World (all of it together) and `simulate`, the way in

The world owns all state; nothing is global.
"""

from node.testing.libraries import rebind_libraries
from node.testing.loop import Deadlock, SimLoop
from node.testing.network import Address, Packet, Rule, SimNetwork, lossy
from node.testing.runtime import SimRuntime
from node.testing.simulation import World, simulate
from node.testing.swarm import Swarm
from node.testing.tasks import tasks_until_left
from node.testing.tokens import MemoryTokenBook

__all__ = [
    "Address",
    "Deadlock",
    "MemoryTokenBook",
    "Packet",
    "Rule",
    "SimLoop",
    "SimNetwork",
    "SimRuntime",
    "Swarm",
    "World",
    "lossy",
    "rebind_libraries",
    "simulate",
    "tasks_until_left",
]
