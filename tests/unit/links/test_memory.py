"""The in-memory link keeps the link contract, under virtual time and under a plain loop."""

from __future__ import annotations

import asyncio

import pytest

from node.links.base import Link
from node.links.memory import WINDOW_BYTES, MemoryFactory
from node.testing import SimNetwork, World, lossy, simulate
from protocol.codec import MAX_FRAME
from protocol.errors import BadSignature, Conflict, TooLarge, Unreachable
from protocol.identity import Credentials


class Node:
    """A factory that hands incoming links over and keeps them open."""

    def __init__(self, world: World, name: str, credentials: Credentials | None = None) -> None:
        self.host = world.host(name)
        self.address = f"{self.host}:7337"
        self.credentials = credentials or world.credentials(name)
        self.factory = MemoryFactory(world.network, self.host, self.credentials)
        self.incoming: asyncio.Queue[Link] = asyncio.Queue()

    async def _keep(self, link: Link) -> None:
        await self.incoming.put(link)
        await asyncio.Event().wait()

    async def listen(self) -> Node:
        await self.factory.listen("0.0.0.0", 7337, self._keep)
        return self


async def pair(world: World) -> tuple[Node, Node, Link, Link]:
    a, b = Node(world, "a"), await Node(world, "b").listen()
    link = await a.factory.dial(b.address, b.credentials.node_id, 5)
    return a, b, link, await b.incoming.get()


def test_messages_pass_both_ways_in_order_and_peers_are_known() -> None:
    async def main(world: World) -> list[bytes]:
        world.network.rule = lossy(loss=0.2, duplicate=0.2, latency=(0.001, 0.5))
        a, b, near, far = await pair(world)
        assert near.peer.node_id == b.credentials.node_id
        assert far.peer.node_id == a.credentials.node_id
        for number in range(100):
            await near.send(b"%d" % number)
        await far.send(b"hello")
        assert await near.receive() == b"hello"
        return [await far.receive() for _ in range(100)]

    assert simulate(1, main) == [b"%d" % number for number in range(100)]


def test_dial_refusals_are_told_apart() -> None:
    async def main(world: World) -> None:
        a, b = Node(world, "a"), await Node(world, "b").listen()
        with pytest.raises(BadSignature, match="not "):
            await a.factory.dial(b.address, a.credentials.node_id, 5)
        with pytest.raises(Unreachable, match="nothing listens"):
            await a.factory.dial(f"{b.host}:1", None, 5)
        with pytest.raises(Unreachable, match="not an address"):
            await a.factory.dial("nonsense", None, 5)
        world.network.hang(b.host)
        with pytest.raises(Unreachable, match="within 5"):
            await a.factory.dial(b.address, None, 5)
        world.network.wake(b.host)
        with pytest.raises(Conflict, match="--port"):
            await b.listen()
        stranger = Node(world, "c", World(99, world.runtime.monotonic, world.network).credentials("c"))
        with pytest.raises(BadSignature, match="another swarm"):
            await stranger.factory.dial(b.address, None, 5)

    simulate(1, main)


def test_close_delivers_what_was_sent_and_then_ends() -> None:
    async def main(world: World) -> None:
        _, _, near, far = await pair(world)
        await near.send(b"last words")
        await near.close("going home")
        with pytest.raises(Unreachable, match="this node closed"):
            await near.receive()
        with pytest.raises(Unreachable):
            await near.send(b"too late")
        assert await far.receive() == b"last words"
        with pytest.raises(Unreachable, match="going home"):
            await far.receive()
        with pytest.raises(Unreachable):
            await far.send(b"nobody reads")
        await near.close()

    simulate(1, main)


def test_peer_that_stops_reading_stops_the_sender_and_then_loses_its_link() -> None:
    async def main(world: World) -> tuple[int, float]:
        _, _, near, far = await pair(world)
        started, sent = world.runtime.monotonic(), 0

        async def flood() -> None:
            nonlocal sent
            while True:
                await near.send(bytes(65_536))
                sent += 65_536

        with pytest.raises(Unreachable, match="has not read for 10"):
            await flood()
        with pytest.raises(Unreachable):
            await far.receive()
        return sent, world.runtime.monotonic() - started

    sent, waited = simulate(1, main)
    assert sent <= WINDOW_BYTES
    assert 10 <= waited < 11


def test_slow_reader_keeps_its_link() -> None:
    async def main(world: World) -> int:
        _, _, near, far = await pair(world)

        async def read() -> int:
            for _ in range(20):
                await asyncio.sleep(8)
                await far.receive()
            return 20

        reader = asyncio.create_task(read())
        for _ in range(20):
            await near.send(bytes(WINDOW_BYTES))
        return await reader

    assert simulate(1, main) == 20


def test_short_partition_delays_messages_and_a_long_one_ends_the_link() -> None:
    async def main(world: World) -> None:
        a, _, near, far = await pair(world)
        world.network.partition([a.host])
        await near.send(b"held")
        await asyncio.sleep(10)
        world.network.heal()
        assert await far.receive() == b"held"
        world.network.partition([a.host])
        await near.send(b"lost")
        started = world.runtime.monotonic()
        for end in (near, far):
            with pytest.raises(Unreachable, match="silent"):
                await end.receive()
        assert world.runtime.monotonic() - started == pytest.approx(15)

    simulate(1, main)


def test_crash_breaks_links_at_once() -> None:
    async def main(world: World) -> None:
        _, b, near, _ = await pair(world)
        world.network.crash(b.host)
        with pytest.raises(Unreachable, match="reset"):
            await near.receive()

    simulate(1, main)


def test_too_long_a_message_is_refused_before_it_is_sent() -> None:
    async def main(world: World) -> None:
        _, _, near, _ = await pair(world)
        with pytest.raises(TooLarge):
            await near.send(bytes(MAX_FRAME + 1))

    simulate(1, main)


def test_failing_handler_is_seen_and_its_link_closed() -> None:
    async def main(world: World) -> None:
        a, b = Node(world, "a"), Node(world, "b")

        async def fail(link: Link) -> None:
            raise ValueError("handler bug")

        await b.factory.listen("", 7337, fail)
        link = await a.factory.dial(b.address, None, 5)
        with pytest.raises(Unreachable):
            await link.receive()

    with pytest.raises(ValueError, match="handler bug"):
        simulate(1, main)


def test_closing_a_factory_closes_its_links_and_frees_its_port() -> None:
    async def main(world: World) -> None:
        _, b, near, _ = await pair(world)
        await b.factory.close()
        with pytest.raises(Unreachable):
            await near.receive()
        await Node(world, "b").listen()

    simulate(1, main)


async def test_works_under_a_plain_loop() -> None:
    network = SimNetwork(1)
    network.rule = lossy(latency=(0.0, 0.001))
    world = World(1, asyncio.get_running_loop().time, network)
    _, b, near, far = await pair(world)
    await near.send(b"real time")
    assert await far.receive() == b"real time"
    await b.factory.close()
