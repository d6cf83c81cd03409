"""The simulator keeps its promises: virtual time, seeded fates, equal traces, loud failures."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest

from node.links.base import Link
from node.links.memory import MemoryFactory
from node.testing import Deadlock, World, lossy, rebind_libraries, simulate
from protocol.errors import LocalError
from protocol.identity import verify_chain


class Inbox(asyncio.DatagramProtocol):
    """Keeps what arrives, with the virtual time of arrival."""

    def __init__(self) -> None:
        self.heard: list[tuple[float, bytes]] = []
        self.errors: list[Exception] = []

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.heard.append((asyncio.get_running_loop().time(), data))

    def error_received(self, exc: Exception) -> None:
        self.errors.append(exc)


async def inbox(host: str, port: int = 9000) -> tuple[asyncio.DatagramTransport, Inbox]:
    return await asyncio.get_running_loop().create_datagram_endpoint(Inbox, local_addr=(host, port))


async def echo(link: Link) -> None:
    while True:
        await link.send(await link.receive())


async def chatter(world: World) -> str:
    """Stock kademlia servers, links, and a crowd of tasks whose group is aborted: everything whose order could differ."""
    from kademlia.network import Server

    world.network.rule = lossy(loss=0.1, duplicate=0.05, latency=(0.005, 0.2))
    servers = [Server(node_id=world.runtime_of(f"id{i}").token_bytes(20)) for i in range(8)]
    for number, server in enumerate(servers):
        await server.listen(9000, world.host(f"n{number}"))
    for server in servers[1:]:
        await server.bootstrap([(world.host("n0"), 9000)])
    await servers[3].set("key", "value")
    hub = MemoryFactory(world.network, world.host("hub"), world.credentials("hub", keeper=True))
    await hub.listen("", 7337, echo)
    spokes = [MemoryFactory(world.network, world.host(f"n{i}"), world.credentials(f"n{i}")) for i in range(8)]
    links = await asyncio.gather(*(spoke.dial(f"{world.host('hub')}:7337", None, 5) for spoke in spokes))
    await asyncio.gather(*(link.send(link.peer.node_id) for link in links))
    transport, _ = await inbox(world.host("crowd"))

    async def last_words(number: int) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            transport.sendto(b"%d" % number, (world.host("n0"), 9000 + number))

    async def fail() -> None:
        raise ValueError("abort the group")

    async def crowd() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(50):
                group.create_task(last_words(number))
            group.create_task(fail())

    with pytest.raises(ExceptionGroup):
        await crowd()
    await asyncio.sleep(4000)
    for server in servers:
        server.stop()
    await hub.close()
    return world.network.trace()


def test_hours_pass_at_once_and_clocks_agree() -> None:
    async def main(world: World) -> tuple[float, float, float]:
        before = world.runtime.now()
        await asyncio.sleep(7200)
        return world.runtime.now() - before, world.runtime.monotonic(), asyncio.get_running_loop().time()

    assert simulate(1, main) == (7200.0, 7200.0, 7200.0)


def test_equal_seeds_give_equal_traces_whatever_the_hash_seed() -> None:
    program = "from node.testing import simulate; from tests.sim.test_simulator import chatter; print(simulate(7, chatter))"
    traces = []
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=60)
        traces.append(done.stdout.strip())
    assert traces[0] == traces[1] == simulate(7, chatter)
    assert simulate(8, chatter) != traces[0]


def test_randomness_is_seeded_per_node_and_keys_depend_on_the_name_only() -> None:
    async def main(world: World) -> list[bytes]:
        a, b = world.runtime_of("a"), world.runtime_of("b")
        return [a.token_bytes(8), b.token_bytes(8), world.key("a").public, a.random().randbytes(4)]

    first = simulate(3, main)
    assert first == simulate(3, main)
    assert first[0] != first[1]
    assert first != simulate(4, main)


def test_credentials_of_a_world_belong_to_its_one_swarm() -> None:
    async def main(world: World) -> bool:
        keeper, member = world.credentials("k", keeper=True), world.credentials("m")
        assert keeper.swarm_id == member.swarm_id
        assert not verify_chain(member.chain, keeper.root, world.runtime.now()).keeper
        return verify_chain(keeper.chain, member.root, world.runtime.now()).keeper

    assert simulate(1, main)


def test_deadlock_is_named_with_the_task_that_waits() -> None:
    async def main(world: World) -> None:
        await asyncio.sleep(5)
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Deadlock, match=r"nothing is scheduled at virtual second 5\.000(.|\n)*main, line") as caught:
        simulate(41, main)
    assert "seed 41" in caught.value.__notes__[0]


def test_a_world_that_never_ends_is_stopped() -> None:
    async def main(world: World) -> None:
        while True:
            await asyncio.sleep(60)

    with pytest.raises(Deadlock, match="limit of 3600 virtual seconds"):
        simulate(1, main, limit_s=3600)


def test_failure_in_a_callback_fails_the_simulation_with_its_seed() -> None:
    def burst() -> None:
        raise ValueError("in a callback")

    async def main(world: World) -> None:
        asyncio.get_running_loop().call_later(1, burst)
        await asyncio.sleep(2)

    with pytest.raises(ValueError, match="in a callback") as caught:
        simulate(13, main)
    assert "seed 13" in caught.value.__notes__[0]


def test_threads_are_refused_and_blocking_work_runs_inline() -> None:
    async def main(world: World) -> int:
        with pytest.raises(LocalError, match="no threads"):
            await asyncio.to_thread(int)
        return await world.runtime.run_blocking(int, "42")

    assert simulate(1, main) == 42


def test_tasks_left_over_are_cancelled_and_may_clean_up() -> None:
    ended: list[str] = []

    async def background() -> None:
        try:
            await asyncio.sleep(1e9)
        finally:
            await asyncio.sleep(1)
            ended.append("clean")

    async def main(world: World) -> asyncio.Task[None]:
        task = asyncio.create_task(background())
        await asyncio.sleep(0)
        return task

    simulate(1, main)
    assert ended == ["clean"]


def test_partition_hang_and_crash_lose_packets_and_heal() -> None:
    async def main(world: World) -> list[bytes]:
        a, b = world.host("a"), world.host("b")
        sender, _ = await inbox(a)
        _, box = await inbox(b)
        network = world.network

        async def say(word: bytes) -> None:
            sender.sendto(word, (b, 9000))
            await asyncio.sleep(1)

        await say(b"whole")
        network.partition([a])
        await say(b"parted")
        network.heal()
        await say(b"healed")
        network.hang(b)
        await say(b"hung")
        network.wake(b)
        await say(b"woken")
        network.crash(a)
        await say(b"dead")
        network.restart(a)
        await say(b"back")
        return [data for _, data in box.heard]

    assert simulate(1, main) == [b"whole", b"healed", b"woken", b"back"]


def test_rule_drops_duplicates_and_delays() -> None:
    async def main(world: World) -> tuple[int, set[bytes]]:
        world.network.rule = lossy(loss=0.2, duplicate=0.1, latency=(0.1, 0.3))
        sender, _ = await inbox(world.host("a"))
        _, box = await inbox(world.host("b"))
        for number in range(1000):
            sender.sendto(b"%d" % number, (world.host("b"), 9000))
        await asyncio.sleep(1)
        assert all(0.1 <= at <= 0.3 for at, _ in box.heard)
        assert [data for _, data in box.heard] != sorted(data for _, data in box.heard)
        return len(box.heard), {data for _, data in box.heard}

    copies, distinct = simulate(5, main)
    assert 750 < len(distinct) < 850
    assert len(distinct) < copies < 1.2 * len(distinct)


def test_a_rule_of_ones_own_sees_every_packet() -> None:
    async def main(world: World) -> list[bytes]:
        world.network.rule = lambda rng, packet: () if packet.data.startswith(b"secret") else (0.01,)
        sender, _ = await inbox(world.host("a"))
        _, box = await inbox(world.host("b"))
        for word in (b"secret", b"plain"):
            sender.sendto(word, (world.host("b"), 9000))
        await asyncio.sleep(1)
        return [data for _, data in box.heard]

    assert simulate(1, main) == [b"plain"]


def test_endpoints_refuse_taken_ports_wildcards_and_giant_datagrams() -> None:
    async def main(world: World) -> None:
        transport, box = await inbox(world.host("a"))
        with pytest.raises(OSError, match="in use"):
            await inbox(world.host("a"))
        with pytest.raises(LocalError, match="own host"):
            await inbox("0.0.0.0")
        free, _ = await inbox(world.host("a"), port=0)
        assert free.get_extra_info("sockname")[1] > 1024
        transport.sendto(bytes(65_508), (world.host("b"), 9000))
        assert isinstance(box.errors[0], OSError)
        transport.close()
        await inbox(world.host("a"))

    simulate(1, main)


def test_libraries_are_rebound_only_inside_and_only_in_their_modules() -> None:
    import time

    import kademlia.routing

    async def main(world: World) -> float:
        await asyncio.sleep(50)
        assert time.__name__ == "time"
        return float(kademlia.routing.KBucket(0, 1, 20).last_updated)

    assert simulate(1, main) == 50.0
    assert kademlia.routing.time is time


def test_rebinding_gives_equal_message_ids_for_equal_seeds() -> None:
    import rpcudp.protocol

    async def main(world: World) -> bytes:
        with rebind_libraries(world.runtime_of("fixed")):
            return bytes(rpcudp.protocol.os.urandom(32))

    assert simulate(9, main) == simulate(9, main)


def test_two_thousand_hosts_and_an_hour_of_pings_stay_cheap() -> None:
    async def main(world: World) -> int:
        world.network.rule = lossy(latency=(0.01, 0.02))
        boxes = [await inbox(world.host(f"n{i}")) for i in range(2000)]
        for _ in range(12):
            for number, (transport, _) in enumerate(boxes):
                transport.sendto(b"ping", (world.host(f"n{(number + 1) % 2000}"), 9000))
            await asyncio.sleep(300)
        return sum(len(box.heard) for _, box in boxes)

    assert simulate(1, main) == 24_000
