"""Semantic memory: questions and their answers, found again by meaning. Rules: `protocol.memories`; storage: the DHT.

What is quoted to agents has been rated well by somebody else than its author (`recall`); people who search see the rest too, marked.
A memory of another node cannot be deleted by us: `purge` buries our own records and makes this node blind to another's.

Nodes find each other's memories only with the same embedder, so a swarm pins one: its founder settles it for good (`protocol.pins`), and
keys name it. `words`, which every node has, is what a founder gets who says nothing: it finds the same words in another order. `minilm`
finds other words of the same meaning, on nodes with the extra `[embed]`. A node without the pinned embedder neither searches nor adds by
text: it says so (`NotAvailable`: why, and what to do), and its questions are asked without memories. It does not fall back to another
embedder, whose keys nobody reads, nor have a neighbour embed for it, who would learn what is asked and could answer anything.
Memories of embeddings need no embedder and are found everywhere.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec
import structlog

from node.brains.embedders import Embedders, Pinned
from node.runtime import Runtime
from protocol.errors import InvalidRequest, NotAvailable, NotFound, PeerError, UserError
from protocol.identity import NodeId, node_id_of
from protocol.memories import MAX_ANSWER, MAX_DIM, MAX_TEXT, RATING, Entry, Recalled, clip, encode_entry, memory_id, rank
from protocol.pins import WORDS
from protocol.records import MAX_TTL_S, Record
from protocol.spots import Spot

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TTL_S = 14 * 86_400
READ_S = 4.0
"""One deadline for all look-ups of a query; what came by then is ranked."""
WRITE_S = 10.0
MAX_RESULTS = 50
MAX_OWN = 2_000
"""Own memories that can be purged later; the oldest are forgotten first and expire by themselves."""

log = structlog.get_logger("memory")
_own = msgspec.msgpack.Decoder(dict[str, list[bytes]])
_banned = msgspec.msgpack.Decoder(list[bytes])


class Shelf(Protocol):
    """The part of the DHT that is needed here (`node.dht.service.Dht`)."""

    async def put(self, key: bytes, subkey: str, value: bytes, ttl_s: int) -> object: ...

    async def get(self, key: bytes) -> list[Record]: ...

    async def delete(self, key: bytes, subkey: str) -> object: ...


class Keep(Protocol):
    """Small named values that outlive the process."""

    async def load(self, name: str) -> bytes | None: ...

    async def save(self, name: str, data: bytes) -> None: ...


class Memory:
    """Store, search, rate and purge."""

    def __init__(self, runtime: Runtime, author: bytes, shelf: Shelf, keep: Keep | None = None, pinned: Pinned | None = None) -> None:
        """`author`: this node's public key. `pinned`: the swarm's embedder (default: words)."""
        self._runtime = runtime
        self._author = author
        self._shelf = shelf
        self._keep = keep
        self._pinned = pinned or Pinned(runtime, Embedders(), WORDS)
        self._own: dict[str, list[bytes]] = {}
        self._banned: frozenset[bytes] = frozenset()
        self._restored = keep is None

    # ---- writing -----------------------------------------------------------------------------------------------------

    async def add(self, text: str, answer: str, *, fitness: float = 0.5, ttl_s: int = TTL_S, receipt: bytes = b"") -> str:
        """Keep an answer (JSON) to a text; returns its id. Raises `InvalidRequest` or `NotAvailable` (no embedder, or nobody kept it)."""
        if not text.strip():
            raise InvalidRequest("The text of a memory is empty: write what it is about.", param="text")
        shown = clip(text, MAX_TEXT)
        name = memory_id(self._author, shown, b"")
        spot = await self._spot(text)
        entry = Entry(shown, clip(answer, MAX_ANSWER), b"", spot.sketch, receipt, self._runtime.now(), fitness)
        return await self._write(name, spot.written(), entry, ttl_s)

    async def add_vector(
        self, question: Sequence[float], answer: Sequence[float], *, fitness: float = 0.5, ttl_s: int = TTL_S, receipt: bytes = b""
    ) -> str:
        """The same for an embedding question. Raises `InvalidRequest` for vectors too long for a record."""
        if max(len(question), len(answer)) > MAX_DIM:
            raise InvalidRequest(f"An embedding of more than {MAX_DIM} components does not fit a memory.", param="embedding")
        spot = _vector_spot(question)
        label = "embedding " + spot.sketch.hex()
        name = memory_id(self._author, label, b"")
        entry = Entry(label, "", struct.pack(f"<{len(answer)}f", *answer), spot.sketch, receipt, self._runtime.now(), fitness)
        return await self._write(name, spot.written(), entry, ttl_s)

    async def rate(self, text: str, memory: str, score: float) -> None:
        """This node's rating of a memory about `text`; a later one replaces it. Raises `NotFound` or `NotAvailable`."""
        spot = await self._spot(text)
        if memory not in {one.id for one in await self._ranked(spot)}:  # it would lie where nobody looks
            raise NotFound(f"No memory {memory} is about that text: give id and text as `moot memory search` prints them.")
        await self._put(spot.written(), RATING + memory, Entry(score=score, at=self._runtime.now()), TTL_S)

    async def _write(self, name: str, keys: list[bytes], entry: Entry, ttl_s: int) -> str:
        if not 1 <= ttl_s <= MAX_TTL_S:
            raise InvalidRequest(f"A memory lives 1 to {MAX_TTL_S} seconds, not {ttl_s}.", param="ttl_s")
        await self._restore()
        await self._put(keys, name, entry, ttl_s)
        self._own[name] = keys
        while len(self._own) > MAX_OWN:
            self._own.pop(next(iter(self._own)))
        if self._keep is not None:
            await self._keep.save("memories", msgspec.msgpack.encode(self._own))
        return name

    async def _put(self, keys: list[bytes], subkey: str, entry: Entry, ttl_s: int) -> None:
        """Under every key at once; one that was kept is enough. Raises `NotAvailable`."""
        value = encode_entry(entry)

        async def one(key: bytes) -> bool:
            try:
                await self._shelf.put(key, subkey, value, ttl_s)
            except (PeerError, UserError) as error:
                log.debug("memory not kept under one key", reason=str(error))
                return False
            return True

        async with asyncio.timeout(WRITE_S), asyncio.TaskGroup() as tasks:
            writes = [tasks.create_task(one(key)) for key in keys]
        if not any(write.result() for write in writes):
            raise NotAvailable("No node kept the memory: try again later.")

    # ---- reading -----------------------------------------------------------------------------------------------------

    async def search(self, text: str, top_k: int = 3) -> list[Recalled]:
        """The memories nearest in meaning, best first, quarantined ones among them. Raises `NotAvailable` without the embedder."""
        return (await self._ranked(await self._spot(text)))[: min(top_k, MAX_RESULTS)]

    async def recall(self, text: str, top_k: int = 3) -> list[Recalled]:
        """What may be quoted to agents. Raises `NotAvailable` without the embedder."""
        spot = await self._spot(text)
        return [one for one in await self._ranked(spot) if not one.quarantined and one.likeness >= spot.layout.quoted][:top_k]

    async def vectors(self, question: Sequence[float], top_k: int = 3) -> list[tuple[str, list[float]]]:
        """The fittest embedding memories of like questions: (id, answer), as many components as asked with."""
        found = []
        for one in sorted(await self._ranked(_vector_spot(question)), key=lambda one: (-one.fitness, -one.likeness)):
            if len(one.entry.vector) == 4 * len(question):
                found.append((one.id, [float(x) for x in struct.unpack(f"<{len(question)}f", one.entry.vector)]))
        return found[:top_k]

    async def _ranked(self, spot: Spot) -> list[Recalled]:
        await self._restore()
        records: list[Record] = []

        async def one(key: bytes) -> None:
            try:
                records.extend(await self._shelf.get(key))
            except (PeerError, UserError) as error:
                log.debug("memories not read", reason=str(error))

        try:
            async with asyncio.timeout(READ_S), asyncio.TaskGroup() as tasks:
                for key in spot.read():
                    tasks.create_task(one(key))
        except TimeoutError:
            log.info("not all memories were read in time")
        return rank(records, spot, self._runtime.now(), self._banned)

    # ---- forgetting --------------------------------------------------------------------------------------------------

    async def purge(self, node: NodeId) -> int:
        """Bury our own memories (how many), or never again see another node's (0: they are not ours to delete)."""
        await self._restore()
        if node != node_id_of(self._author):
            self._banned |= {bytes(node)}
            if self._keep is not None:
                await self._keep.save("banned memories", msgspec.msgpack.encode(sorted(self._banned)))
            return 0
        count = 0
        for name, keys in list(self._own.items()):
            for key in keys:
                await self._shelf.delete(key, name)
            del self._own[name]
            count += 1
        if self._keep is not None:
            await self._keep.save("memories", msgspec.msgpack.encode(self._own))
        return count

    async def _restore(self) -> None:
        if self._restored or self._keep is None:
            return
        self._restored = True
        if (own := await self._keep.load("memories")) is not None:
            self._own = _own.decode(own) | self._own
        if (banned := await self._keep.load("banned memories")) is not None:
            self._banned |= frozenset(_banned.decode(banned))

    async def embed(self, texts: list[str]) -> tuple[str, list[list[float]]]:
        """(name of the pinned embedder, one vector a text). Raises `NotAvailable`."""
        vectors = await self._pinned.embed(texts)
        return self._pinned.name, [[float(x) for x in vector] for vector in vectors]

    async def _spot(self, text: str) -> Spot:
        return Spot(self._pinned.name, (await self._pinned.embed([text]))[0])


def _vector_spot(question: Sequence[float]) -> Spot:
    import numpy as np

    vector: NDArray[np.float32] = np.asarray(question, np.float32)
    return Spot(f"vector {len(question)}", vector)
