"""Reading a pile together: batches of rows go to whichever node is free, and what comes back is checked.

Every node pulls its next batch when it is done with the last one, so machines share by what they can do. The node that keeps the
project reads too, so the work ends whoever vanishes; at the end it also reads what others have not given back yet (first come counts).
Embedding is a function: of each batch from elsewhere `CHECKED` rows are embedded again here, and a node whose vectors are not ours
is barred and everything it sent is read anew. A liar that falsifies few rows only may pass for a while.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import structlog

from node.label.book import Batch
from node.links.exchange import Exchange
from node.runtime import Runtime
from protocol.errors import Malformed, PeerError, Refused
from protocol.identity import Member, NodeId, show_id
from protocol.messages import ReadRows, RowVectors

if TYPE_CHECKING:
    from node.brains.embedder import Embedder
    from node.brains.embedders import Embedders
    from node.label.views import Matrix

CHECKED = 2
SAME = 0.99
"""Cosine from which two embeddings of a text are the same: processors round differently."""
ANSWER_S = 60.0
IN_FLIGHT = 2
"""Batches on their way to one node, so that it never waits for the next."""
AT_ONCE = 4
"""Batches that this node reads together while many wait."""
MAX_SERVED = 4
"""Batches of others that wait here at once."""

log = structlog.get_logger("labelling")


class Reader:
    """The best embedder of this node, loaded when first used, on a thread of its own."""

    def __init__(self, runtime: Runtime, embedders: Embedders) -> None:
        self._worker = runtime.worker("labelling: embedder")
        self._embedders = embedders

    async def name(self) -> str:
        return await self._worker.run(lambda: self._loaded().name)

    async def read(self, texts: Sequence[str]) -> Matrix:
        """Shape (len(texts), dimensions)."""
        return await self._worker.run(lambda: self._loaded().embed(texts))

    async def pack(self, texts: Sequence[str]) -> bytes:
        """The same as bytes."""
        return await self._worker.run(lambda: pack(self._loaded().embed(texts)))

    def _loaded(self) -> Embedder:
        return self._embedders.best()


class Pile:
    """What is still to be read of one project. `keep` stores a batch, `disown` forgets a node's batches and names them."""

    def __init__(
        self,
        starts: Sequence[int],
        fetch: Callable[[int], Awaitable[Batch]],
        keep: Callable[[int, bytes, NodeId], Awaitable[None]],
        disown: Callable[[NodeId], Awaitable[list[int]]],
    ) -> None:
        self.waiting = deque(starts)
        self.open = set(starts)
        """Batches that are not kept yet; some of them are out, some even at two nodes."""
        self.barred: set[NodeId] = set()
        self.fetch, self._keep, self._disown = fetch, keep, disown

    def next(self) -> int | None:
        """A batch that nobody reads; None when all are out."""
        while self.waiting:
            if (start := self.waiting.popleft()) in self.open:
                return start
        return None

    async def keep(self, start: int, vectors: bytes, node: NodeId) -> None:
        """The first to come counts."""
        if start in self.open and node not in self.barred:
            self.open.discard(start)
            await self._keep(start, vectors, node)

    def give_back(self, start: int) -> None:
        if start in self.open:
            self.waiting.appendleft(start)

    async def bar(self, node: NodeId) -> None:
        """Nothing that this node read is believed any more."""
        self.barred.add(node)
        again = await self._disown(node)
        self.open.update(again)
        self.waiting.extend(again)


class Crew:
    """Serves other nodes' batches and has ours served."""

    def __init__(self, runtime: Runtime, me: NodeId, exchange: Exchange, living: Callable[[], list[NodeId]], reader: Reader) -> None:
        self._rng = runtime.random()
        self._me = me
        self._exchange = exchange
        self._living = living
        self._reader = reader
        self._serving = 0
        exchange.on(ReadRows, self._serve)

    async def read(self, pile: Pile, *, local: bool) -> None:
        """Return when every batch is read."""
        name = await self._reader.name()
        async with asyncio.TaskGroup() as lanes:
            helping: dict[NodeId, int] = {}

            async def lane(node: NodeId) -> None:
                helping[node] = helping.get(node, 0) + 1
                try:
                    while node not in pile.barred and (start := pile.next()) is not None:
                        if not await self._elsewhere(pile, start, node, name):
                            return
                finally:
                    helping[node] -= 1

            while pile.open:
                if not local:
                    for node in self._living():
                        if node != self._me and node not in pile.barred and not helping.get(node) and pile.waiting:
                            for _ in range(IN_FLIGHT):
                                lanes.create_task(lane(node), name=f"reading at {show_id(node)[:8]}")
                await self._here(pile)

    async def _here(self, pile: Pile) -> None:
        """Read batches on this node: the next ones, or one that somebody else has not given back.

        Several at once while many wait: the embedder pads rows of like length together, which saves a tenth.
        """
        wanted = min(AT_ONCE, 1 + len(pile.waiting) // (AT_ONCE * len(self._living())))
        starts = [start for _ in range(wanted) if (start := pile.next()) is not None] or [min(pile.open)]
        batches = [await pile.fetch(start) for start in starts]
        vectors = await self._reader.pack([text for batch in batches for text in batch.texts])
        width, at = len(vectors) // sum(len(batch.texts) for batch in batches), 0
        for batch in batches:
            end = at + width * len(batch.texts)
            await pile.keep(batch.start, vectors[at:end], self._me)
            at = end

    async def _elsewhere(self, pile: Pile, start: int, node: NodeId, embedder: str) -> bool:
        """Have one batch read by a peer; False when it is not to be asked again for now."""
        batch = await pile.fetch(start)
        try:
            answer = await self._exchange.request(node, ReadRows(embedder, batch.texts), ANSWER_S)
            if not isinstance(answer, RowVectors):
                raise Malformed("vectors were asked for")
            await self._check(batch.texts, answer.data)
        except Malformed as error:
            log.warning("a node's vectors are not right; it is not asked again", node=show_id(node), reason=str(error))
            pile.give_back(start)
            await pile.bar(node)
            return False
        except PeerError as error:
            log.info("a node does not help", node=show_id(node), reason=str(error))
            pile.give_back(start)
            return False
        await pile.keep(start, answer.data, node)
        return True

    async def _check(self, texts: Sequence[str], data: bytes) -> None:
        """Embed a few rows again. Raises `Malformed`."""
        from node.label.vectors import unpack

        vectors = unpack(data, len(texts))
        rows = self._rng.sample(range(len(texts)), min(CHECKED, len(texts)))
        own = await self._reader.read([texts[row] for row in rows])
        for row, expected in zip(rows, own, strict=True):
            if not float(vectors[row] @ expected) >= SAME * float(expected @ expected):
                raise Malformed("an embedding is not what this node computes for the same text")

    async def _serve(self, peer: Member, message: ReadRows) -> RowVectors:
        if self._serving >= MAX_SERVED:
            raise Refused("busy", f"{MAX_SERVED} batches wait here already")
        self._serving += 1
        try:
            if message.embedder != await self._reader.name():
                raise Refused("embedder", f"this node embeds with {await self._reader.name()}")
            return RowVectors(await self._reader.pack(message.texts))
        finally:
            self._serving -= 1


def pack(vectors: Matrix) -> bytes:
    """float16, little-endian, row after row."""
    return vectors.astype("<f2").tobytes()
