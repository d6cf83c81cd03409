"""The learners in memory, of this node's projects and of those that others started; loaded when needed, made way for when not."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import structlog

from node.label.around import Around
from node.label.births import Births
from node.label.book import Batch, LabelBook, ProjectRecord
from node.label.invitation import Invitations
from node.label.pools import cut
from node.label.room import why_no_room
from node.label.sharing import Sharing
from node.runtime import Runtime
from protocol.corrections import POOL, Charter, Part
from protocol.errors import Conflict, LocalError, NotAvailable, PeerError
from protocol.heads import HeadGenome, HeadStatement
from protocol.identity import NodeId, node_id_of
from protocol.labelling import RowLabel

if TYPE_CHECKING:
    from node.label.bench import Bench
    from node.label.views import Matrix

OPEN = 4
"""Projects with learners in memory at once; the one used longest ago makes room."""

log = structlog.get_logger("labelling")


class Benches:
    """Owns every `Bench` and the thread they work on."""

    def __init__(self, runtime: Runtime, me: NodeId, book: LabelBook, sharing: Sharing, around: Around) -> None:
        self._me = me
        self._book = book
        self._sharing = sharing
        self._around = around
        self.thread = runtime.worker("labelling: learners")
        self._measuring = runtime.worker("labelling: holding corrections back")
        """Beside the learners: an answer does not wait for it."""
        self._measured: dict[str, asyncio.Task[None]] = {}
        """Projects whose corrections are held back at this moment."""
        self._dividing: set[str] = set()
        """Projects whose heads are being looked at."""
        self.births = Births(me, runtime.random(), book, sharing, around, self.thread, self._measuring)
        self.invitations = Invitations(around.minds, self.thread.run, runtime.monotonic)
        self._foreign: set[str] = set()
        """Projects of other nodes among those open."""
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

    def declines(self, project: str, record: ProjectRecord, rows: int) -> str:
        """Why this node makes no learners for a project that another one started; empty when it does or has them already."""
        if not record.home or project in self._open:
            return ""
        return why_no_room(rows, len(self._foreign), self._around.capacity)

    async def get(self, project: str, record: ProjectRecord) -> Bench:
        """The project's learners, loaded and taught what they do not know yet.

        Raises `Conflict` before the pile is read, `NotAvailable` where there is no room for them.
        """
        charter = self._sharing.charters.get(project)
        if record.home and charter is not None and project not in self._open and not self.declines(project, record, 0):
            await self._sharing.pools.bring(charter)  # before the lock: whoever holds the rows may be slow, and others wait for theirs
        async with self._opening:
            if reason := self.declines(project, record, min(charter.rows, POOL) if charter is not None else 0):
                where = ", ".join(self._around.name_of(node) for node in self._sharing.learners(project)) or record.home
                raise NotAvailable(f"This node has no room for the learners of project {project} ({reason}): ask {where}.")
            bench = self._open.get(project)
            loaded = bench is None
            if bench is None:
                from node.label.bench import Bench  # numpy: a node that labels nothing does without

                bench, rows = Bench(hash_seed(project)), 0
                async for part in self.pool(project, record):
                    rows += len(part.texts)  # as many as there are, whatever was said
                    if reason := self.declines(project, record, rows):
                        raise NotAvailable(f"This node has no room for the learners of project {project} ({reason}).")
                    for batch in _batches(part):
                        bench.take(batch, 1)
                    if part.labels:  # an example's label comes with its row
                        known = {part.start + at * part.step: label for at, label in enumerate(part.labels)}
                        await self._book.examples(project, known, 0.0)
                self._stale.discard(project)
                bench.answers = await self._book.answers(project)
                genomes = await self.births.genomes(project, _founders, home=not record.home)
                await self.thread.run(bench.open, record.labels, genomes)
            elif project in self._stale:
                await self.learn(project, record, bench)
            self._open.pop(project, None)  # only now: others are told that the learners are here
            self._open[project] = bench
            if record.home:
                self._foreign.add(project)
            while len(self._open) > OPEN:
                self._make_way(project)
            if loaded:
                self.divided(project)
            return bench

    def _make_way(self, newest: str) -> None:
        """Those of other nodes go first: a member that has many projects corrected does not drive out what people here work on."""
        oldest = next((one for one in self._open if one in self._foreign and one != newest), next(iter(self._open)))
        del self._open[oldest]
        self._foreign.discard(oldest)

    def divided(self, project: str) -> None:
        """Tell of the machines that have a shared project's learners now."""
        names = [self._around.name_of(node) for node in self._sharing.learners(project)]
        if project in self._sharing.charters and names:
            self._around.on_event({"project": project, "learners_on": len(names), "machines": ", ".join(names)})

    async def learn(self, project: str, record: ProjectRecord, bench: Bench) -> None:
        """All answers that stand; the learners know them when this returns, calibration follows."""
        self._stale.discard(project)
        bench.answers = await self._book.answers(project)
        await self.thread.run(bench.learn, record.labels)
        self._begin_measuring(project, record, bench)

    def _begin_measuring(self, project: str, record: ProjectRecord, bench: Bench) -> None:
        if self._tasks is not None and bench.due and project not in self._measured:
            measuring = self._measure(project, record, bench)
            self._measured[project] = self._tasks.create_task(measuring, name=f"measuring {project[:8]}")

    async def heads_changed(self, said: HeadStatement, record: ProjectRecord) -> None:
        """A node said what has become of a head: the learners here follow."""
        bench = self._open.get(said.project)
        if bench is not None and said.project not in self._dividing:  # else whoever divides sees to it
            await self.births.update(said.project, bench)
            self._begin_measuring(said.project, record, bench)

    async def settled(self, project: str) -> None:
        """When what was answered is weighed too: labels wait for it, answers do not."""
        if (measuring := self._measured.get(project)) is not None:
            await asyncio.wait([measuring])

    async def _measure(self, project: str, record: ProjectRecord, bench: Bench) -> None:
        """Hold corrections back and weigh by them, again if as many came meanwhile; then heads may divide and guests may read."""
        try:
            while bench.due:
                held = await self._measuring.run(bench.hold_back, record.labels)
                await self.thread.run(bench.weigh, held)
        finally:
            self._measured.pop(project, None)
        if self._tasks is not None and project not in self._dividing:
            self._dividing.add(project)
            self._tasks.create_task(self._divide(project, record, bench), name=f"heads of {project[:8]} divide")
        self.invite(project, record, bench)

    async def _divide(self, project: str, record: ProjectRecord, bench: Bench) -> None:
        """Nobody waits for it: labels stay as they are until a child votes."""
        try:
            await self.births.after_measuring(project, bench, self._home(project))
        except NotAvailable as error:
            log.warning("heads divide later", project=project, reason=str(error))
        finally:
            self._dividing.discard(project)
        self._begin_measuring(project, record, bench)

    def _home(self, project: str) -> NodeId:
        charter = self._sharing.charters.get(project)
        return node_id_of(charter.author) if charter is not None else self._me

    def invite(self, project: str, record: ProjectRecord, bench: Bench) -> None:
        """Let guests read in the background what they should read now."""
        if self._tasks is not None:
            reading = self.invitations.invite(project, bench, record.labels, local=record.local)
            self._tasks.create_task(reading, name=f"guests of {project[:8]}")

    async def judge(self, project: str, record: ProjectRecord, bench: Bench, texts: list[str], vectors: Matrix) -> list[RowLabel]:
        """New texts: the heads, and the guests that help where the heads are unsure."""
        minds = self._around.minds
        if minds is None or project in self.invitations.paused:
            return await self.thread.run(bench.judge, texts, vectors, record.labels)
        verdict = await self.thread.run(bench.look, texts, vectors)
        if verdict is None:
            return await self.thread.run(bench.judge, texts, vectors, record.labels)
        wishes = await self.thread.run(bench.wishes, minds.names(local=record.local), texts, verdict)
        said = await self.invitations.of_new(wishes, record.labels)
        return await self.thread.run(bench.judge_with, verdict, said, record.labels)

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
            async for part in self._sharing.pools.parts(project):
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


def _founders() -> tuple[HeadGenome, ...]:
    from node.label.heads import founders

    return founders()


def hash_seed(project: str) -> int:
    return int.from_bytes(hashlib.sha256(project.encode()).digest()[:4], "big")
