"""The rows that a project's learners are made of, as blobs that every node fetches, checks and keeps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping

import structlog

from node.blobs import Blobs
from protocol.corrections import MAX_PARTS, Charter, Part, pack_part, read_part
from protocol.errors import NotAvailable, PeerError, RequestTooLarge
from protocol.identity import NodeId

PART_BYTES = 2 * 1024 * 1024

log = structlog.get_logger("labelling")


class Pools:
    """Of the projects in `charters`; `near` names who may hold a project's blobs, the likeliest first."""

    def __init__(self, blobs: Blobs, charters: Mapping[str, Charter], near: Callable[[Charter], list[NodeId]]) -> None:
        self._blobs = blobs
        self._charters = charters
        self._near = near

    async def store(self, project: str, parts: AsyncIterator[Part]) -> list[bytes]:
        """Keep a pool; the hashes of its blobs, none where it cannot be kept."""
        digests: list[bytes] = []
        try:
            async for part in parts:
                digests.append(await self._blobs.put(pack_part(part), pin=True))
        except (NotAvailable, RequestTooLarge) as error:
            log.warning("a project is not shared", project=project, reason=str(error))
            return []
        if not 0 < len(digests) <= MAX_PARTS:
            log.warning("a project is not shared: its rows are too long", project=project, parts=len(digests))
            return []
        return digests

    def whole(self, charter: Charter) -> bool:
        """Whether all rows of its pool are here."""
        return all(self._blobs.held(digest) for digest in charter.parts)

    async def parts(self, project: str) -> AsyncIterator[Part]:
        """The pool. Raises `Unreachable` when nobody gives a part, `Malformed` when one is not what it should be."""
        charter = self._charters[project]
        for digest in charter.parts:
            yield await self._part(charter, digest)

    async def bring(self, charter: Charter) -> None:
        """All of its parts, unless they are here. Raises as `parts` does."""
        if not self.whole(charter):
            for digest in charter.parts:
                await self._part(charter, digest)

    async def fetch(self, charter: Charter) -> None:
        """All of its parts, if somebody gives them."""
        try:
            await self.bring(charter)
        except (PeerError, NotAvailable) as error:
            log.info("rows of a project are not here yet", project=charter.project, reason=str(error))

    async def _part(self, charter: Charter, digest: bytes) -> Part:
        data = await self._blobs.fetch(digest, self._near(charter))
        part = read_part(data)
        await self._blobs.put(data, pin=True)
        return part


async def cut(rows: AsyncIterator[tuple[int, list[str], list[str], bytes]], step: int) -> AsyncIterator[Part]:
    """Parts of a pool from consecutive batches (start, texts, labels of examples, float16 vectors): every `step`-th row."""
    held: Part | None = None
    async for start, texts, labels, vectors in rows:
        width = len(vectors) // len(texts)
        stride = 1 if start < 0 else step
        first = -start % stride
        taken = range(first, len(texts), stride)
        if not taken:
            continue
        new = Part(
            start + first,
            stride,
            [texts[at] for at in taken],
            [labels[at] for at in taken] if labels else [],
            b"".join(vectors[at * width : (at + 1) * width] for at in taken),
        )
        if held is not None and _follows(held, new) and _bytes(held) < PART_BYTES:
            new = Part(held.start, stride, held.texts + new.texts, held.labels + new.labels, held.vectors + new.vectors)
        elif held is not None:
            yield held
        held = new
    if held is not None:
        yield held


def _follows(held: Part, new: Part) -> bool:
    end = held.start + held.step * len(held.texts)
    return (end, held.step, bool(held.labels)) == (new.start, new.step, bool(new.labels))


def _bytes(part: Part) -> int:
    return len(part.vectors) + sum(map(len, part.texts))
