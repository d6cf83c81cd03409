"""Recall of 5,000 answers over 20 simulated nodes: real keys, signed records, merge rules and quotas; no packets.

Each node is the DHT's own `Storage` with its default quotas; a record goes to the 5 nearest of the 20, a read merges the 3 nearest that
are up. Paraphrases: the same words shuffled, 20% of them dropped.
"""

from __future__ import annotations

import asyncio
import random

from node.dht.placement import REPLICAS
from node.dht.service import QUORUM
from node.dht.storage import Quotas, Storage
from node.memory import Memory
from node.runtime import SystemRuntime
from protocol.identity import NodeKey, node_id_of
from protocol.records import Record, living, merge, sign

NODES, ANSWERS, QUERIES, DEAD = 20, 5_000, 300, 2
DROPPED = 0.2
RUNTIME = SystemRuntime()


class Grid:
    """Twenty storages and who is nearest to a key."""

    def __init__(self, rng: random.Random) -> None:
        self.keys = [NodeKey.from_seed(rng.randbytes(32)) for _ in range(NODES)]
        self.stores = {node_id_of(key.public): Storage(RUNTIME.now, Quotas(), lambda: None) for key in self.keys}
        self.dead: set[bytes] = set()
        self.refused = 0

    def near(self, key: bytes) -> list[Storage]:
        up = [node for node in self.stores if node not in self.dead]
        return [self.stores[node] for node in sorted(up, key=lambda n: int.from_bytes(n, "big") ^ int.from_bytes(key, "big"))]


class Shelf:
    """`node.memory.Shelf` of one node."""

    def __init__(self, grid: Grid, key: NodeKey) -> None:
        self._grid, self._key = grid, key
        self.lookups = 0
        self._seq = 0

    async def put(self, key: bytes, subkey: str, value: bytes, ttl_s: int) -> object:
        self._seq += 1
        expires = int(RUNTIME.now()) + ttl_s
        record = sign(self._key, key=key, subkey=subkey, seq=self._seq, value=value, expires_at=expires)
        kept = [store.offer(record) == "kept" for store in self._grid.near(key)[:REPLICAS]]
        self._grid.refused += not any(kept)
        return None

    async def get(self, key: bytes) -> list[Record]:
        self.lookups += 1
        return living(merge(*(store.get(key) or [] for store in self._grid.near(key)[:QUORUM])), RUNTIME.now())

    async def delete(self, key: bytes, subkey: str) -> object:
        raise NotImplementedError


def vocabulary(rng: random.Random) -> list[str]:
    """3,000 pronounceable words."""
    return ["".join(rng.choice("bcdfghklmnprstvw") + rng.choice("aeiou") for _ in range(rng.randint(1, 4))) for _ in range(3_000)]


def paraphrase(text: str, rng: random.Random) -> str:
    words = text.split()
    rng.shuffle(words)
    return " ".join(words[: max(1, round(len(words) * (1 - DROPPED)))])


async def recall(seed: int) -> dict[str, float]:
    """recall@3, look-ups a query, records refused by quotas, and recall with two nodes dead."""
    rng = random.Random(f"recall {seed}")
    grid = Grid(rng)
    words = vocabulary(rng)
    frequency = [1 / (index + 10) for index in range(len(words))]
    texts = [" ".join(rng.choices(words, frequency, k=rng.randint(8, 16))) for _ in range(ANSWERS)]
    shelves = [Shelf(grid, key) for key in grid.keys]
    memories = [Memory(RUNTIME, key.public, shelf) for key, shelf in zip(grid.keys, shelves, strict=True)]
    ids = [await memories[index % NODES].add(text, '"x"') for index, text in enumerate(texts)]
    figures = {"records refused by a quota": float(grid.refused)}
    for name, dead in (("recall@3", 0), ("recall@3 with 2 of 20 nodes dead", DEAD)):
        grid.dead = {node_id_of(key.public) for key in grid.keys[1 : 1 + dead]}
        asked, found = rng.sample(range(ANSWERS), QUERIES), 0
        shelves[0].lookups = 0
        began = RUNTIME.monotonic()
        for index in asked:
            found += ids[index] in [one.id for one in await memories[0].search(paraphrase(texts[index], rng), 3)]
        figures[name] = found / QUERIES
        figures["look-ups a query"] = shelves[0].lookups / QUERIES
        figures["ms a query, no network"] = round((RUNTIME.monotonic() - began) * 1e3 / QUERIES, 2)
    return figures


def measure_recall(seed: int) -> dict[str, float]:
    return asyncio.run(recall(seed))
