"""The learners in memory, of this node's projects and of those that others started; loaded when needed, made way for when not."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import structlog

from node.label.book import Batch, LabelBook, ProjectRecord
from node.label.sharing import Sharing, cut
from node.runtime import Runtime
from protocol.corrections import Charter, Part
from protocol.errors import Conflict, LocalError, NotAvailable, PeerError

if TYPE_CHECKING:
    from node.label.bench import Bench

POOL = 10_000
OPEN = 4
"""Projects with learners in memory at once; the one used longest ago makes room."""

log = structlog.get_logger("labelling")


class Benches:
    """Owns every `Bench` and the thread they work on."""

    def __init__(self, runtime: Runtime, book: LabelBook, sharing: Sharing) -> None:
        self._book = book
        self._sharing = sharing
        self.thread = runtime.worker("labelling: learners")
        self._open: dict[str, Bench] = {}
        self._opening = asyncio.Lock()
        self._stale: set[str] = set()
        """Projects with corrections that their learners in memory have not learnt."""
        self._tasks: asyncio.TaskGroup | None = None

    def start(self, tasks: asyncio.TaskGroup | None) -> None:
        """Work in the background is owned by this group from now on."""
        self._tasks = tasks

    def known(self, project: str) -> Bench | None:
        """The project's learners if they are in memory."""
        return self._open.get(project)

    async def get(self, project: str, record: ProjectRecord) -> Bench:
        """The project's learners, loaded and taught what they do not know yet. Raises `Conflict` before the pile is read."""
        async with self._opening:
            bench = self._open.pop(project, None)
            if bench is None:
                from node.label.bench import Bench  # numpy: a node that labels nothing does without

                bench = Bench(hash_seed(project))
                async for part in self.pool(project, record):
                    for batch in _batches(part):
                        bench.take(batch, 1)
                    if part.labels:  # an example's label comes with its row
                        known = {part.start + at * part.step: label for at, label in enumerate(part.labels)}
                        await self._book.examples(project, known, 0.0)
                self._stale.discard(project)
                bench.answers = await self._book.answers(project)
                await self.thread.run(bench.open, record.labels)
            elif project in self._stale:
                await self.learn(project, record, bench)
            self._open[project] = bench
            while len(self._open) > OPEN:
                del self._open[next(iter(self._open))]
            return bench

    async def learn(self, project: str, record: ProjectRecord, bench: Bench) -> None:
        """All answers that stand; the learners know them when this returns, calibration follows."""
        self._stale.discard(project)
        bench.answers = await self._book.answers(project)
        await self.thread.run(bench.learn, record.labels)
        if self._tasks is not None and bench.due:
            self._tasks.create_task(self.thread.run(bench.measure, record.labels), name=f"measuring {project[:8]}")

    def outdated(self, project: str) -> None:
        """Corrections came from elsewhere: they are learnt before the learners are used again."""
        self._stale.add(project)

    async def learn_outdated(self, project: str, record: ProjectRecord) -> None:
        """Learn them now; what comes meanwhile is learnt in one go."""
        if project in self._stale:
            try:
                await self.get(project, record)
            except (PeerError, NotAvailable, Conflict) as error:  # its rows are not here yet: all is learnt when they are
                log.info("corrections wait for their rows", project=project, reason=str(error))

    async def share(self, project: str, record: ProjectRecord) -> None:
        """Give a pile of this node that has been read to the swarm."""
        rows = (await self._book.sizes(project))[0]
        charter = Charter(project, record.name, record.labels, record.budget, record.embedder, rows, [], b"")
        await self._sharing.share(charter, self.pool(project, record))

    async def pool(self, project: str, record: ProjectRecord) -> AsyncIterator[Part]:
        """The rows that learners are made of, from this node's book or from the swarm. Raises `Conflict` before the pile is read."""
        if record.home:
            async for part in self._sharing.parts(project):
                yield part
            return
        rows, read, _ = await self._book.sizes(project)
        if not record.complete or await self._book.unread(project):
            raise Conflict(f"{read} of {rows} rows are read: wait until the pile is read.", code="not_read")
        async for part in cut(self._rows(project), max(1, -(-rows // POOL))):
            yield part

    async def _rows(self, project: str) -> AsyncIterator[tuple[int, list[str], list[str], bytes]]:
        answers = await self._book.answers(project)
        for start in await self._book.starts(project):
            batch = await self._book.batch(project, start)
            if batch is None or batch.vectors is None:
                raise LocalError(f"rows from {start} on of project {project} are gone")
            labels = [answers.get(start + at) or "" for at in range(len(batch.texts))] if start < 0 else []
            yield start, batch.texts, labels, batch.vectors


def _batches(part: Part) -> list[Batch]:
    """Consecutive rows together."""
    if part.step == 1:
        return [Batch(part.start, part.texts, part.vectors)]
    width = len(part.vectors) // len(part.texts)
    return [Batch(part.start + at * part.step, [text], part.vectors[at * width : (at + 1) * width]) for at, text in enumerate(part.texts)]


def hash_seed(project: str) -> int:
    return int.from_bytes(hashlib.sha256(project.encode()).digest()[:4], "big")
