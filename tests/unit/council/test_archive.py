"""Receipts of other nodes: found by id, believed only when they hold."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from node.council.archive import Archive
from node.council.receipts import MemoryReceipts
from protocol.api.council import ConsensusRequest
from protocol.identity import parse_id
from protocol.messages import LinkMessage, ReceiptReply
from protocol.records import Record, sign
from tests.unit.council.world import Node, Swarm


class Shelf:
    """One place for everybody's pointers."""

    def __init__(self, writer: Node) -> None:
        self.held: dict[bytes, list[Record]] = {}
        self.writer = writer
        self.written = asyncio.Event()

    async def put(self, key: bytes, subkey: str, value: bytes, ttl_s: int) -> object:
        record = sign(self.writer.credentials.key, key=key, subkey=subkey, seq=1, value=value, expires_at=2**40)
        self.held.setdefault(key, []).append(record)
        self.written.set()
        return None

    async def get(self, key: bytes) -> list[Record]:
        return self.held.get(key, [])


def archive(node: Node, shelf: Shelf) -> Archive:
    receipts: MemoryReceipts = node.receipts
    return Archive(node.runtime, node.id, node.mailbox, receipts, lambda: node.credentials.root, shelf)


@pytest.fixture
async def found(three: Swarm) -> tuple[Swarm, Shelf, bytes]:
    """A receipt on node 0, with a pointer to it."""
    answer = await three.nodes[0].council.ask(ConsensusRequest(question="Good?", choices=["good", "bad"]))
    shelf, receipt_id = Shelf(three.nodes[0]), parse_id(answer.id)
    writing = archive(three.nodes[0], shelf)
    writing.publish(receipt_id)
    task = asyncio.create_task(writing.run())
    await shelf.written.wait()
    task.cancel()
    return three, shelf, receipt_id


async def test_a_receipt_is_found_by_its_id_from_another_node(found: tuple[Swarm, Shelf, bytes]) -> None:
    swarm, shelf, receipt_id = found
    receipt = await archive(swarm.nodes[1], shelf).find(receipt_id)
    assert receipt is not None
    assert receipt.id == receipt_id
    assert await archive(swarm.nodes[1], shelf).find(b"x" * 20) is None


async def test_a_receipt_that_was_changed_on_its_way_is_not_shown(found: tuple[Swarm, Shelf, bytes]) -> None:
    swarm, shelf, receipt_id = found

    def flip(answer: LinkMessage) -> LinkMessage:
        assert isinstance(answer, ReceiptReply)
        return msgspec.structs.replace(answer, data=answer.data[:-1] + bytes([answer.data[-1] ^ 1]))

    swarm.post.tamper[(swarm.nodes[0].id, ReceiptReply)] = flip
    assert await archive(swarm.nodes[1], shelf).find(receipt_id) is None


async def test_a_dead_holder_means_not_found_within_the_deadline(found: tuple[Swarm, Shelf, bytes]) -> None:
    swarm, shelf, receipt_id = found
    swarm.post.dead = {swarm.nodes[0].id}
    assert await archive(swarm.nodes[1], shelf).find(receipt_id) is None
