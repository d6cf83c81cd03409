"""Blobs: what is refused, what makes room for what, and copies between nodes. In virtual time, over simulated links."""

from __future__ import annotations

import asyncio
import errno
import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from node import blob_files
from node.blobs import CHUNK_S, FETCH_S, MAX_TAKING, Blobs
from node.links.exchange import Exchange
from node.links.memory import MemoryFactory
from node.testing import World, lossy, simulate, tasks_until_left
from protocol.errors import InvalidRequest, NotAvailable, Refused, RequestTooLarge, Unreachable
from protocol.identity import Member, NodeId
from protocol.messages import MAX_BLOB, MAX_CHUNK, PROTOCOL_VERSION, BlobChunk, BlobOffer, BlobRequest, Hello

PORT = 7337
ROOM = 4 * MAX_CHUNK


class Shed:
    """One simulated node that holds blobs; without them the test answers in its place."""

    def __init__(self, world: World, name: str, folder: Path, town: list[Shed], *, room: int = ROOM, blobs: bool = True) -> None:
        self.host = world.host(name)
        self.runtime = world.runtime_of(name)
        self.credentials = world.credentials(name)
        self.node_id: NodeId = self.credentials.node_id
        self.factory = MemoryFactory(world.network, self.host, self.credentials)
        hello = Hello(PROTOCOL_VERSION, name, f"{self.host}:{PORT}")
        addresses = {shed.node_id: f"{shed.host}:{PORT}" for shed in town}
        self.exchange = Exchange(self.runtime, self.factory, self.node_id, lambda: hello, lambda node_id: self.addresses.get(node_id))
        self.addresses = addresses
        if blobs:
            self.blobs = Blobs(self.runtime, folder / name, self.exchange, room=room)
        for shed in town:
            shed.addresses[self.node_id] = f"{self.host}:{PORT}"
        town.append(self)

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        self.exchange.start(tasks)
        await self.factory.listen(self.host, PORT, self.exchange.accept)


Scenario = Callable[[World, Callable[..., Awaitable[Shed]]], Awaitable[None]]


def run(folder: Path, scenario: Scenario, seed: int = 1) -> None:
    async def main(world: World) -> None:
        town: list[Shed] = []
        async with tasks_until_left() as tasks:

            async def build(name: str, room: int = ROOM, blobs: bool = True) -> Shed:
                shed = Shed(world, name, folder, town, room=room, blobs=blobs)
                await shed.start(tasks)
                return shed

            await scenario(world, build)

    simulate(seed, main)


def data(number: int, size: int = MAX_CHUNK) -> bytes:
    return hashlib.sha256(bytes([number])).digest() * (size // 32)


# ---- what goes wrong ----------------------------------------------------------------------------------------------------


def test_what_is_too_long_or_nowhere_is_refused_with_a_reason(tmp_path: Path) -> None:
    async def scenario(world: World, build: Callable[..., Awaitable[Shed]]) -> None:
        one, other = await build("one", room=MAX_BLOB * 2), await build("other")
        with pytest.raises(RequestTooLarge, match="too long"):
            await one.blobs.put(bytes(MAX_BLOB + 1))
        with pytest.raises(InvalidRequest, match="not on this node"):
            await one.blobs.spread(b"d" * 32, [other.node_id], 1)
        with pytest.raises(Unreachable, match="does not hold"):
            await one.blobs.fetch(b"d" * 32, [other.node_id])
        with pytest.raises(Unreachable, match="no holder"):
            await one.blobs.fetch(b"d" * 32, [])
        assert await one.blobs.get(b"d" * 32) is None
        for digest, offset in ((await other.blobs.put(b"short"), 6), (b"d" * 32, 0)):
            with pytest.raises(Refused):
                await one.exchange.request(other.node_id, BlobRequest(digest, offset), 5.0)

    run(tmp_path, scenario)


@pytest.mark.parametrize("lie", ["other bytes", "too long", "nothing", "silence"])
def test_a_holder_that_lies_is_passed_over(tmp_path: Path, lie: str) -> None:
    async def scenario(world: World, build: Callable[..., Awaitable[Shed]]) -> None:
        one, liar, honest = await build("one"), await build("liar", blobs=False), await build("honest")

        async def answer(peer: Member, request: BlobRequest) -> BlobChunk | None:
            if lie == "silence":
                await asyncio.Event().wait()
            return {
                "other bytes": BlobChunk(3, b"lie"),
                "too long": BlobChunk(3, b"longer"),
                "nothing": BlobChunk(MAX_BLOB, b""),
            }.get(lie)

        liar.exchange.on(BlobRequest, answer)
        digest = await honest.blobs.put(data(1))
        assert await one.blobs.fetch(digest, [liar.node_id, honest.node_id]) == data(1)
        assert one.blobs.held(digest)
        with pytest.raises(Refused):
            await liar.exchange.request(one.node_id, BlobOffer(hashlib.sha256(b"x").digest(), 3), FETCH_S + 5.0)

    run(tmp_path, scenario)


def test_one_peer_cannot_fill_a_node_or_drive_out_what_others_keep_there(tmp_path: Path) -> None:
    async def scenario(world: World, build: Callable[..., Awaitable[Shed]]) -> None:
        one, flood = await build("one"), await build("flood", room=64 * MAX_CHUNK)
        own = await one.blobs.put(data(0))
        digests = [await flood.blobs.put(data(number)) for number in range(1, 6)]
        for digest in digests:
            assert await flood.blobs.spread(digest, [one.node_id], 1) == [one.node_id]
        assert [one.blobs.held(digest) for digest in digests] == [False] * 4 + [True]
        assert one.blobs.held(own)
        large = await flood.blobs.put(data(6, 2 * MAX_CHUNK))
        assert await flood.blobs.spread(large, [one.node_id], 1) == []
        world.network.rule = lossy(latency=(0.001, 0.002))
        small = [await flood.blobs.put(bytes([number])) for number in range(120)]
        kept = sum([bool(await flood.blobs.spread(digest, [one.node_id], 1)) for digest in small])
        assert 50 < kept < 110

    run(tmp_path, scenario)


def test_damaged_files_and_a_full_disk_cost_a_blob_and_not_the_node(tmp_path: Path) -> None:
    async def scenario(world: World, build: Callable[..., Awaitable[Shed]]) -> None:
        one, other = await build("one"), await build("other")
        digest = await one.blobs.put(data(1))
        await other.blobs.put(data(1))
        (tmp_path / "one" / digest.hex()).write_bytes(b"damaged")
        assert await one.blobs.fetch(digest, [other.node_id]) == data(1)
        (tmp_path / "one" / digest.hex()).unlink()
        with pytest.raises(Refused):
            await other.exchange.request(one.node_id, BlobRequest(digest, 0), 5.0)
        assert not one.blobs.held(digest)
        one.blobs._files._folder = tmp_path / "gone"
        with pytest.raises(NotAvailable, match="make room on the disk"):
            await one.blobs.put(data(2))
        assert await one.blobs.fetch(digest, [other.node_id]) == data(1)

    run(tmp_path, scenario)


def test_one_peer_cannot_take_all_places_with_tiny_blobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blob_files, "MAX_BLOBS", 16)

    async def scenario(world: World, build: Callable[..., Awaitable[Shed]]) -> None:
        one, honest, flood = await build("one"), await build("honest"), await build("flood")
        kept = await honest.blobs.put(b"honest")
        assert await honest.blobs.spread(kept, [one.node_id], 1) == [one.node_id]
        for number in range(15):
            tiny = await flood.blobs.put(bytes([number]))
            assert await flood.blobs.spread(tiny, [one.node_id], 1) == [one.node_id]
        assert one.blobs.held(kept)
        assert len(one.blobs) == 1 + 4

    run(tmp_path, scenario)


def test_a_peer_that_is_slow_on_purpose_leaves_others_a_turn(tmp_path: Path) -> None:
    async def scenario(world: World, build: Callable[..., Awaitable[Shed]]) -> None:
        one, slow, honest = await build("one"), await build("slow", blobs=False), await build("honest")

        async def wait(peer: Member, request: BlobRequest) -> BlobChunk:
            await asyncio.sleep(CHUNK_S - 1.0)
            return BlobChunk(MAX_CHUNK, b"x")

        slow.exchange.on(BlobRequest, wait)
        digest = await honest.blobs.put(data(1))

        async def offer(number: int) -> None:
            with pytest.raises(Refused):
                await slow.exchange.request(one.node_id, BlobOffer(bytes([number]) * 32, MAX_CHUNK), FETCH_S + 5.0)

        async with asyncio.TaskGroup() as offers:
            for number in range(MAX_TAKING):
                offers.create_task(offer(number))
            await asyncio.sleep(1.0)
            assert await honest.blobs.spread(digest, [one.node_id], 1) == [one.node_id]

    run(tmp_path, scenario)


def test_a_disk_that_fails_for_a_moment_costs_no_blob(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(world: World, build: Callable[..., Awaitable[Shed]]) -> None:
        one, other = await build("one"), await build("other")
        digest = await one.blobs.put(data(1), pin=True)

        def fail(*arguments: object, **options: object) -> None:
            raise OSError(errno.EMFILE, "too many open files")

        with monkeypatch.context() as broken:
            for name in ("read_bytes", "open", "unlink"):
                broken.setattr(Path, name, fail)
            assert await one.blobs.get(digest) is None
            with pytest.raises(Refused):
                await other.exchange.request(one.node_id, BlobRequest(digest, 0), 5.0)
            one.blobs.unpin(digest)
            one.blobs.discard(digest)
        again = await one.blobs.put(data(2), pin=True)
        with monkeypatch.context() as broken:
            broken.setattr(Path, "read_bytes", fail)
            assert await one.blobs.get(again) is None
        assert await one.blobs.get(again) == data(2)

    run(tmp_path, scenario)


def test_who_asks_faster_than_a_peer_serves_waits_and_gets_it_all(tmp_path: Path) -> None:
    async def scenario(world: World, build: Callable[..., Awaitable[Shed]]) -> None:
        room = 32 * MAX_CHUNK
        one, other = await build("one", room=8 * room), await build("other", room=8 * room)
        world.network.rule = lossy(latency=(0.0001, 0.0002))
        for number in range(3):
            large = await other.blobs.put(data(number, room))
            assert await one.blobs.fetch(large, [other.node_id]) == data(number, room)

    run(tmp_path, scenario)


def test_pinned_blobs_stay_and_refuse_what_finds_no_room(tmp_path: Path) -> None:
    async def scenario(world: World, build: Callable[..., Awaitable[Shed]]) -> None:
        one = await build("one")
        pinned = [await one.blobs.put(data(number), pin=True) for number in range(3)]
        loose = [await one.blobs.put(data(number)) for number in (7, 8)]
        assert [one.blobs.held(digest) for digest in loose] == [False, True]
        assert await one.blobs.put(data(8), pin=True) == loose[1]
        with pytest.raises(NotAvailable, match="pinned"):
            await one.blobs.put(data(9))
        one.blobs.unpin(pinned[0])
        await one.blobs.put(data(9))
        assert not one.blobs.held(pinned[0])
        assert await one.blobs.get(pinned[1]) == data(1)

    run(tmp_path, scenario)


def test_a_blob_is_discarded_by_who_had_it_kept_and_nobody_else(tmp_path: Path) -> None:
    async def scenario(world: World, build: Callable[..., Awaitable[Shed]]) -> None:
        one, other, third = await build("one"), await build("other"), await build("third")
        digest = await other.blobs.put(data(1))
        await other.blobs.spread(digest, [one.node_id], 1)
        one.blobs.discard(digest, third.node_id)
        one.blobs.discard(digest)
        assert one.blobs.held(digest)
        one.blobs.discard(digest, other.node_id)
        assert (one.blobs.held(digest), list((tmp_path / "one").iterdir())) == (False, [])
        pinned = await one.blobs.put(data(2), pin=True)
        one.blobs.discard(pinned)
        assert one.blobs.held(pinned)

    run(tmp_path, scenario)


# ---- what should happen -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 32, MAX_CHUNK, 5 * MAX_CHUNK + 32])
def test_a_blob_is_spread_and_fetched_whole(tmp_path: Path, size: int) -> None:
    async def scenario(world: World, build: Callable[..., Awaitable[Shed]]) -> None:
        world.network.rule = lossy(loss=0.1, latency=(0.01, 0.1))
        sheds = [await build(f"n{number}", room=64 * MAX_CHUNK) for number in range(5)]
        first, *others = sheds
        world.network.crash(others[0].host)
        digest = await first.blobs.put(data(1, size))
        kept = await first.blobs.spread(digest, [shed.node_id for shed in others], 2)
        assert set(kept) == {others[1].node_id, others[2].node_id}
        world.network.crash(first.host)
        assert await others[3].blobs.fetch(digest, [first.node_id, *kept]) == data(1, size)

    run(tmp_path, scenario)


def test_least_recently_used_go_first_and_a_restart_remembers(tmp_path: Path) -> None:
    async def scenario(world: World, build: Callable[..., Awaitable[Shed]]) -> None:
        one = await build("one")
        digests = [await one.blobs.put(data(number)) for number in range(4)]
        assert await one.blobs.get(digests[0]) is not None
        digests.append(await one.blobs.put(data(4), pin=True))
        assert [one.blobs.held(digest) for digest in digests] == [True, False, True, True, True]
        (tmp_path / "one" / "7.new").write_bytes(b"half")
        again = Blobs(one.runtime, tmp_path / "one", (await build("two", blobs=False)).exchange, room=ROOM)
        assert [again.held(digest) for digest in digests] == [True, False, True, True, True]
        assert not (tmp_path / "one" / "7.new").exists()
        for number in range(5, 9):
            await again.put(data(number))
        assert await again.get(digests[4]) == data(4)

    run(tmp_path, scenario)
