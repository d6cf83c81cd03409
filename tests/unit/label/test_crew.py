"""Rows are read once whoever vanishes, and a node that sends wrong vectors is barred and its work done again."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from node.brains.embedder import HashedEmbedder
from node.brains.embedders import Embedders
from node.label.book import Batch
from node.label.crew import Crew, Pile, Reader, pack
from node.links.exchange import Exchange
from node.runtime import SystemRuntime
from protocol.errors import Unreachable
from protocol.identity import NodeId
from protocol.messages import ReadRows, RowVectors

ME, HONEST, BAD = NodeId(b"m" * 20), NodeId(b"h" * 20), NodeId(b"b" * 20)
EMBEDDER = HashedEmbedder()


class HashedReader(Reader):
    """The embedder that needs no weights."""

    def __init__(self) -> None:
        super().__init__(SystemRuntime(), Embedders({EMBEDDER.name: lambda: EMBEDDER}))


class FakeExchange:
    """Peers that answer at once: honest, lying, or dead after `lives` batches."""

    def __init__(self, *, liar: bool = False, lives: int = 10**9) -> None:
        self._liar = liar
        self._lives = lives
        self._noise = np.random.default_rng(1)
        self.asked: Counter[NodeId] = Counter()

    def on(self, kind: type[Any], handler: object) -> None:
        """Nothing comes in here."""

    async def request(self, node: NodeId, message: ReadRows, timeout: float) -> RowVectors:
        self.asked[node] += 1
        await asyncio.sleep(0)
        vectors = EMBEDDER.embed(message.texts)
        if node == BAD:
            if self.asked[node] > self._lives:
                raise Unreachable("killed")
            if self._liar:
                vectors = self._noise.standard_normal(vectors.shape).astype(np.float32)
                vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return RowVectors(pack(vectors))


async def read(exchange: FakeExchange, batches: int, nodes: Sequence[NodeId], *, local: bool = False) -> dict[int, tuple[bytes, NodeId]]:
    """Read a pile; returns who read each batch and what, having checked that nothing was kept twice."""
    texts = {number * 4: [f"row {number} {random.Random(number).random()} {word}" for word in "abcd"] for number in range(batches)}
    kept: dict[int, tuple[bytes, NodeId]] = {}

    async def fetch(start: int) -> Batch:
        return Batch(start, texts[start])

    async def keep(start: int, vectors: bytes, node: NodeId) -> None:
        assert start not in kept
        kept[start] = (vectors, node)

    async def disown(node: NodeId) -> list[int]:
        gone = [start for start, (_, reader) in kept.items() if reader == node]
        for start in gone:
            del kept[start]
        return gone

    crew = Crew(SystemRuntime(), ME, cast(Exchange, exchange), lambda: list(nodes), HashedReader())
    async with asyncio.timeout(200):
        await crew.read(Pile(list(texts), fetch, keep, disown), local=local)
    assert set(kept) == set(texts)
    for start, (vectors, _) in kept.items():
        assert vectors == pack(EMBEDDER.embed(texts[start]))
    return kept


async def test_a_node_killed_in_the_middle_costs_nothing_but_time() -> None:
    kept = await read(FakeExchange(lives=3), 40, [ME, HONEST, BAD])
    assert {node for _, node in kept.values()} >= {ME, HONEST}


async def test_a_liars_vectors_are_found_and_none_of_them_stays() -> None:
    exchange = FakeExchange(liar=True)
    kept = await read(exchange, 40, [ME, HONEST, BAD])
    assert BAD not in {node for _, node in kept.values()}
    assert exchange.asked[BAD] <= 2


async def test_local_text_goes_nowhere() -> None:
    exchange = FakeExchange()
    kept = await read(exchange, 10, [ME, HONEST, BAD], local=True)
    assert {node for _, node in kept.values()} == {ME}
    assert not exchange.asked


async def test_alone_the_work_is_done_too() -> None:
    await read(FakeExchange(lives=0), 5, [ME, BAD])
