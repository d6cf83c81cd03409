"""The overlay in virtual time: joining, broadcast, failure, repair. Seeds stand in every failure."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from node.links.exchange import Exchange
from node.links.memory import MemoryFactory
from node.overlay.announcer import Announcer
from node.overlay.broadcast import CONTEXT, Broadcast, gossip_body
from node.overlay.members import Members
from node.overlay.neighbours import ACTIVE_VIEW, Neighbours
from node.testing import World, lossy, simulate, tasks_until_left
from protocol.errors import BadSignature, Malformed
from protocol.identity import Credentials, Member, NodeId
from protocol.messages import PROTOCOL_VERSION, Announcement, Gossip, Hello

PORT = 7337
SEEDS = [1, 2, 3]


@dataclass
class Peer:
    """One simulated node: links and overlay, nothing else."""

    world: World
    name: str
    bootstrap: list[str]
    heard: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.runtime = self.world.runtime_of(self.name)
        self.credentials: Credentials = self.world.credentials(self.name)
        self.host = self.world.host(self.name)
        self.factory = MemoryFactory(self.world.network, self.host, self.credentials)
        self.members = Members(self.runtime, self.credentials.node_id)
        hello = Hello(PROTOCOL_VERSION, self.name, f"{self.host}:{PORT}")
        self.exchange = Exchange(self.runtime, self.factory, self.node_id, lambda: hello, self.members.address_of)
        self.broadcast = Broadcast(self.runtime, lambda: self.credentials, self.exchange)
        self.broadcast.on("member", self.members.deliver)
        self.broadcast.on("news", self._hear)
        self.neighbours = Neighbours(self.runtime, self.exchange, self.members, self.broadcast, self.node_id, lambda: self.bootstrap)
        self.announcer = Announcer(self.runtime, self.broadcast, self._announcement)

    @property
    def node_id(self) -> NodeId:
        return self.credentials.node_id

    @property
    def alive(self) -> set[NodeId]:
        return {view.node_id for view in self.members.living()}

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        self.exchange.start(tasks)
        self.broadcast.start(tasks)
        await self.factory.listen(self.host, PORT, self.exchange.accept)
        tasks.create_task(self.announcer.run())
        tasks.create_task(self.neighbours.run())

    def _announcement(self) -> Announcement:
        return Announcement(self.name, f"{self.host}:{PORT}", False, 0, [])

    async def _hear(self, origin: Member, gossip: Gossip) -> None:
        self.heard.append(gossip.body)


async def swarm(world: World, tasks: asyncio.TaskGroup, count: int) -> list[Peer]:
    """`count` nodes, each knowing the first one's address only."""
    peers: list[Peer] = []
    for number in range(count):
        peer = Peer(world, f"n{number}", [f"{peers[0].host}:{PORT}"] if peers else [])
        peers.append(peer)
        await peer.start(tasks)
    return peers


def run(seed: int, scenario: Callable[[World, asyncio.TaskGroup], Awaitable[None]]) -> None:
    async def main(world: World) -> None:
        async with tasks_until_left() as tasks:
            await scenario(world, tasks)

    simulate(seed, main)


@pytest.mark.parametrize("seed", SEEDS)
def test_everybody_learns_of_everybody_and_hears_news_once(seed: int) -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        world.network.rule = lossy(loss=0.02, latency=(0.005, 0.1))
        peers = await swarm(world, tasks, 30)
        await asyncio.sleep(60)
        assert {len(peer.alive) for peer in peers} == {30}
        assert all(1 <= len(peer.neighbours.view) <= ACTIVE_VIEW for peer in peers)
        await peers[7].broadcast.publish("news", b"hello", 60)
        await asyncio.sleep(5)
        assert [peer.heard for peer in peers] == [[b"hello"]] * 30

    run(seed, scenario)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_crashed_node_is_dead_to_all_within_two_minutes_and_its_places_are_refilled(seed: int) -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        peers = await swarm(world, tasks, 12)
        await asyncio.sleep(40)
        victim, rest = peers[0], peers[1:]
        world.network.crash(victim.host)
        await asyncio.sleep(120)
        assert all(victim.node_id not in peer.alive for peer in rest)
        assert [len(peer.alive) for peer in rest] == [11] * 11
        await rest[0].broadcast.publish("news", b"still here", 60)
        await asyncio.sleep(5)
        assert all(peer.heard == [b"still here"] for peer in rest)

    run(seed, scenario)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_node_that_hangs_is_noticed_by_its_neighbours(seed: int) -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        peers = await swarm(world, tasks, 6)
        await asyncio.sleep(30)
        world.network.hang(peers[2].host)
        await asyncio.sleep(90)
        rest = [peer for peer in peers if peer is not peers[2]]
        assert all(peers[2].node_id not in peer.alive for peer in rest)

    run(seed, scenario)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_bootstrap_peer_that_comes_up_late_is_found(seed: int) -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        early = Peer(world, "early", [f"{world.host('late')}:{PORT}"])
        await early.start(tasks)
        await asyncio.sleep(300)
        assert not early.neighbours.view
        late = Peer(world, "late", [])
        await late.start(tasks)
        await asyncio.sleep(60)
        assert early.alive == late.alive == {early.node_id, late.node_id}

    run(seed, scenario)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_partition_heals(seed: int) -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        peers = await swarm(world, tasks, 10)
        await asyncio.sleep(40)
        world.network.partition([peer.host for peer in peers[:5]])
        await asyncio.sleep(300)
        assert all(peer.alive == {other.node_id for other in peers[:5]} for peer in peers[:5])
        world.network.heal()
        await asyncio.sleep(180)
        assert [len(peer.alive) for peer in peers] == [10] * 10

    run(seed, scenario)


def test_forged_expired_and_future_statements_are_refused() -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        peer = Peer(world, "a", [])
        await peer.start(tasks)
        other = world.credentials("b")
        now = peer.runtime.now()

        def statement(sequence: int, expires_at: float, signer: Credentials) -> Gossip:
            unsigned = Gossip(list(other.chain), sequence, expires_at, "news", b"x", bytes(64))
            return Gossip(unsigned.chain, sequence, expires_at, "news", b"x", signer.key.sign(CONTEXT, gossip_body(unsigned)))

        millis = int(now * 1000)
        with pytest.raises(BadSignature):
            await peer.broadcast.accept(statement(millis, now + 60, peer.credentials))
        with pytest.raises(Malformed):
            await peer.broadcast.accept(statement(millis, now - 1, other))
        with pytest.raises(Malformed):
            await peer.broadcast.accept(statement(millis + 7_200_000, now + 60, other))
        assert peer.heard == []
        await peer.broadcast.accept(statement(millis, now + 60, other))
        await peer.broadcast.accept(statement(millis, now + 60, other))
        assert peer.heard == [b"x"]

    run(1, scenario)


def test_an_origin_that_says_too_much_is_cut_short() -> None:
    async def scenario(world: World, tasks: asyncio.TaskGroup) -> None:
        peer = Peer(world, "a", [])
        await peer.start(tasks)
        await asyncio.sleep(1)

        async def talk() -> None:
            for _ in range(100):
                await peer.broadcast.publish("news", b"me me me", 60)

        with pytest.raises(Malformed):
            await talk()
        assert len(peer.heard) < 60

    run(1, scenario)
