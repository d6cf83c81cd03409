"""Recall of 5,000 answers over 20 simulated nodes: real keys, signed records, merge rules and quotas; no packets.

Each node is the DHT's own `Storage` with its default quotas; a record goes to the 5 nearest of the 20, a read merges the 3 nearest that
are up. Both embedders that a swarm can pin are measured on the same texts:

    made up      5,000 sentences of made-up words; paraphrases: the same words shuffled, 20% of them dropped
    written      4,940 rows that people wrote (`tests/data/labelling`) and the 60 questions of `tests/data/paraphrases.jsonl` that no
                 constant was chosen on; paraphrases: other words for those 60, and the same words shuffled and dropped for the rows

Every text is embedded once, before the clock runs.
"""

from __future__ import annotations

import asyncio
import csv
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from node.brains.embedder import Embedder, MiniLmEmbedder, WordsEmbedder
from node.brains.embedders import Embedders, Pinned
from node.dht.placement import REPLICAS
from node.dht.service import QUORUM
from node.dht.storage import Quotas, Storage
from node.memory import Memory
from node.runtime import SystemRuntime
from protocol.identity import NodeKey, node_id_of
from protocol.records import Record, living, merge, sign

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Query = tuple[int, str]
"""The index of what should be found, and what is asked."""
DATA = Path(__file__).parents[1] / "data"
NODES, ANSWERS, QUERIES, DEAD = 20, 5_000, 300, 2
DROPPED = 0.2
SHORTEST = 5
RUNTIME = SystemRuntime()


class Grid:
    """Twenty storages and who is nearest to a key."""

    def __init__(self, keys: list[NodeKey]) -> None:
        self.keys = keys
        self.stores = {node_id_of(key.public): Storage(RUNTIME.now, Quotas(), lambda: None) for key in self.keys}
        self.dead: set[bytes] = set()
        self.refused = 0

    def crowding(self) -> dict[str, float]:
        """How many memories lie under a key."""
        sizes = sorted({key: len(store.get(key)) for store in self.stores.values() for key in store.keys()}.values())  # noqa: SIM118
        return {"memories under a key, mean": round(sum(sizes) / len(sizes), 1), "most": float(sizes[-1])}

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


@dataclass
class Corpus:
    """What is kept, and what is asked of it: by name, (how many nodes are dead, queries)."""

    kept: list[str]
    asked: dict[str, tuple[int, list[Query]]]

    def texts(self) -> list[str]:
        return sorted({*self.kept, *(text for _, queries in self.asked.values() for _, text in queries)})


def made_up(rng: random.Random) -> Corpus:
    words = vocabulary(rng)
    frequency = [1 / (index + 10) for index in range(len(words))]
    kept = [" ".join(rng.choices(words, frequency, k=rng.randint(8, 16))) for _ in range(ANSWERS)]
    asked = {}
    for name, dead in (("recall@3", 0), (f"recall@3 with {DEAD} of {NODES} nodes dead", DEAD)):
        asked[name] = (dead, [(index, paraphrase(kept[index], rng)) for index in rng.sample(range(ANSWERS), QUERIES)])
    return Corpus(kept, asked)


def written(rng: random.Random, pairs: str = "report") -> Corpus:
    """`pairs`: "choose" for those that constants are chosen on."""
    lines = [json.loads(line) for line in (DATA / "paraphrases.jsonl").read_text(encoding="utf-8").splitlines()]
    chosen = [line for line in lines if line["set"] == pairs]
    rows: dict[str, None] = {}
    for path in sorted((DATA / "labelling").glob("*.csv")):
        with path.open(encoding="utf-8") as stream:
            rows |= dict.fromkeys(row["text"] for row in csv.DictReader(stream))
    kept = [line["kept"] for line in chosen] + rng.sample(sorted(rows.keys() - {line["kept"] for line in chosen}), ANSWERS - len(chosen))
    rng.shuffle(kept)  # what is kept late finds keys full
    long = [index for index in range(ANSWERS) if len(kept[index].split()) >= SHORTEST]
    shuffled = [(index, paraphrase(kept[index], rng)) for index in rng.sample(long, QUERIES)]
    return Corpus(kept, {
        "recall@3, other words": (0, [(kept.index(line["kept"]), line["asked"]) for line in chosen]),
        f"recall@3, shuffled and dropped (of {SHORTEST} words and more)": (0, shuffled),
    })  # fmt: skip


class Read(Embedder):
    """Vectors of texts that were embedded before."""

    def __init__(self, embedder: Embedder, texts: Sequence[str]) -> None:
        self.name = embedder.name
        self._vectors = dict(zip(texts, embedder.embed(texts), strict=True))

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        import numpy as np

        return np.stack([self._vectors[text] for text in texts])


async def recall(corpus: Corpus, grid: Grid, embedder: Embedder) -> dict[str, float]:
    """recall@3 of each kind of query, look-ups a query, records refused by quotas, how full keys are."""
    shelves = [Shelf(grid, key) for key in grid.keys]
    pinned = Pinned(RUNTIME, Embedders({embedder.name: lambda: embedder}), embedder.name)
    memories = [Memory(RUNTIME, key.public, shelf, pinned=pinned) for key, shelf in zip(grid.keys, shelves, strict=True)]
    ids = [await memories[index % NODES].add(text, '"x"') for index, text in enumerate(corpus.kept)]
    figures = {"records refused by a quota": float(grid.refused), **grid.crowding()}
    for name, (dead, queries) in corpus.asked.items():
        grid.dead = {node_id_of(key.public) for key in grid.keys[1 : 1 + dead]}
        found, shelves[0].lookups = 0, 0
        began = RUNTIME.monotonic()
        for index, text in queries:
            found += ids[index] in [one.id for one in await memories[0].search(text, 3)]
        figures[name] = round(found / len(queries), 4)
        figures["look-ups a query"] = shelves[0].lookups / len(queries)
        figures["ms a query, no network"] = round((RUNTIME.monotonic() - began) * 1e3 / len(queries), 2)
    return figures


def measure_recall(make: Callable[[random.Random], Corpus], seed: int, tell: Callable[[str], None]) -> dict[str, dict[str, float]]:
    """Figures of each embedder on the corpus that `made_up` or `written` makes."""
    rng = random.Random(f"recall {seed}")
    keys = [NodeKey.from_seed(rng.randbytes(32)) for _ in range(NODES)]
    corpus, found = make(rng), {}
    for short, embedder in (("words", WordsEmbedder()), ("minilm", MiniLmEmbedder())):
        tell(f"{short}: 5,000 memories on 20 simulated nodes")
        found[short] = asyncio.run(recall(corpus, Grid(keys), Read(embedder, corpus.texts())))
    return found
