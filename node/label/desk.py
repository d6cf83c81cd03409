"""The labelling projects of this node: rows in, questions out, answers in, labels out. What the HTTP handlers call.

`Desk` puts the parts together: `Projects` knows which projects there are, `Intake` takes and reads piles, `Benches` has the learners of
these and of the swarm's other projects, which `Sharing` brings, and `Standing` says how things are. A pile of more than `POOL` rows is
learnt from through an even sample of it; the other rows are judged like new ones, so memory does not grow with the pile.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import structlog

from node.label.around import Around
from node.label.benches import Benches
from node.label.births import told
from node.label.book import Batch, LabelBook
from node.label.crew import Crew, Reader
from node.label.intake import Intake
from node.label.lending import Lending
from node.label.projects import Projects
from node.label.sharing import Sharing
from node.label.standing import Standing
from node.runtime import Runtime
from protocol.errors import Conflict, InvalidRequest, NotAvailable, NotFound, PeerError
from protocol.heads import HeadStatement
from protocol.identity import NodeId, node_id_of, show_id
from protocol.labelling import (
    AnswerRequest,
    DistrustRequest,
    ExamplesRequest,
    GuestsRequest,
    MerkleTree,
    ProjectInfo,
    ProjectRequest,
    Questions,
    ReceiptInfo,
    RowLabel,
    RowLabels,
    RowsRequest,
    row_leaf,
)

MAX_QUESTIONS = 64

log = structlog.get_logger("labelling")


class Desk:
    """`run` it in the daemon's TaskGroup."""

    def __init__(
        self,
        runtime: Runtime,
        me: NodeId,
        book: LabelBook,
        reader: Reader,
        crew: Crew,
        lending: Lending,
        sharing: Sharing,
        around: Around | None = None,
    ) -> None:
        self._me = me
        self._book = book
        self._reader = reader
        self._lending = lending
        self._sharing = sharing
        self._around = around or Around()
        self._projects = Projects(runtime, book, sharing)
        self._benches = Benches(runtime, me, book, sharing, self._around)
        self._intake = Intake(runtime, book, self._projects, crew, self._benches, sharing)
        self._standing = Standing(me, book, self._benches, self._intake, sharing, self._around)
        lending.serve(self._judge_for_peer)
        sharing.watch(self._on_change)
        sharing.watch_learners(lambda project: self._benches.known(project) is not None, self._benches.divided)
        sharing.watch_heads(self._on_head)
        self._spoken_of: dict[str, HeadStatement] = {}
        """The latest on a head of each project that the learners here have yet to follow."""
        self._following: set[str] = set()
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Own the projects' tasks until cancelled; reading that a stop interrupted goes on."""
        await self._projects.open()
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self._benches.start(tasks)
            tasks.create_task(self._sharing.run(), name="labelling: sharing")
            try:
                await self._intake.start(tasks)
                await asyncio.Event().wait()
            finally:
                self._tasks = None
                self._intake.stop()
                self._benches.start(None)

    # ---- projects ----------------------------------------------------------------------------------------------------

    def known(self) -> list[str]:
        """Projects that this node can answer for: its own, and the swarm's."""
        return self._projects.known()

    async def start(self, request: ProjectRequest) -> ProjectInfo:
        """Begin, or go on with, the project of this source. Raises `InvalidRequest`."""
        return await self.info(await self._projects.start(request, await self._reader.name()))

    async def projects(self) -> list[ProjectInfo]:
        return [await self.info(project) for project in self.known()]

    async def info(self, project: str) -> ProjectInfo:
        """Raises `NotFound`."""
        return await self._standing.of(project, await self._projects.find(project))

    async def add(self, project: str, request: RowsRequest) -> ProjectInfo:
        await self._intake.add(project, request)
        return await self.info(project)

    async def add_examples(self, project: str, request: ExamplesRequest) -> ProjectInfo:
        await self._intake.add_examples(project, request)
        return await self.info(project)

    async def complete(self, project: str) -> ProjectInfo:
        await self._intake.complete(project)
        return await self.info(project)

    async def ask_guests(self, project: str, request: GuestsRequest) -> ProjectInfo:
        """Pause the brains that read rows of this project here, or let them go on."""
        record = await self._projects.get(project)
        if request.asked:
            self._benches.invitations.paused.discard(project)
            self._benches.invite(project, record, await self._benches.get(project, record))
        else:
            self._benches.invitations.paused.add(project)
        return await self.info(project)

    async def distrust(self, project: str, request: DistrustRequest) -> ProjectInfo:
        """Take a node's corrections out of the project. Raises `InvalidRequest` unless it is one that corrected or was distrusted."""
        info = await self.info(project)
        nodes = [one.node_id for one in info.correctors if one.node_id.startswith(request.node) or one.name == request.node]
        if len(nodes) != 1:
            there = ", ".join(f"{one.node_id[:8]} ({one.name})" for one in info.correctors) or "nobody yet"
            raise InvalidRequest(f"'{request.node}' names {len(nodes)} nodes of those that corrected: {there}.", param="node")
        wanted = nodes[0]
        authors = {node_id_of(key) for key, _ in await self._book.authors(project)} | await self._sharing.distrusted(project)
        await self._sharing.distrust(project, next(node for node in authors if show_id(node) == wanted), trusted=request.trusted)
        await self._learn_changes(project)
        return await self.info(project)

    # ---- questions and answers ---------------------------------------------------------------------------------------

    async def questions(self, project: str, count: int) -> Questions:
        """The next rows to ask about. Where people answer at several nodes, each has its own.

        Raises `Conflict` before the pile is read.
        """
        record = await self._projects.find(project)
        bench = await self._benches.get(project, record)
        spent = len([row for row in bench.answers if row >= 0])
        count = min(count, max(0, record.budget - spent))
        asking = sorted({node_id_of(author) for _, _, author in await self._book.ranks(project)} | {self._me})
        found = await self._benches.thread.run(bench.questions, min(count * len(asking), MAX_QUESTIONS), record.labels)
        mine = found[asking.index(self._me) % len(asking) :: len(asking)] or found[:count]
        return Questions(mine[:count], await self.info(project))

    async def answer(self, project: str, request: AnswerRequest) -> ProjectInfo:
        """A label, a skip or an undo; the learners here have learnt it when this returns, those of other nodes hear of it."""
        record = await self._projects.find(project)
        bench = await self._benches.get(project, record)
        if request.row not in bench.place:
            raise NotFound(f"Row {request.row} was not asked about: take one from 'next'.", param="row")
        await self._sharing.correct(project, request.row, request.label, undo=request.undo)
        await self._projects.grow(project, record)
        await self._benches.learn(project, record, bench)
        return await self.info(project)

    # ---- labels ------------------------------------------------------------------------------------------------------

    async def labels(self, project: str, start: int) -> RowLabels:
        """The rows of the batch that holds `start`, as they are labelled now."""
        record = await self._projects.find(project)
        bench = await self._benches.get(project, record)
        await self._benches.settled(project)
        batch = await self._book.batch(project, start)
        if record.home:
            batch = await anext(self._borrowed(project, start), None)
        if batch is None or batch.vectors is None:
            raise NotFound(f"There is no row {start} in project {project}.")
        first = start - batch.start
        rows = (await self._benches.thread.run(bench.judge_batch, batch, record.labels))[first:]
        return RowLabels(start, start + len(rows), rows)

    async def receipt(self, project: str) -> ReceiptInfo:
        """The Merkle root over all rows as they are labelled now."""
        record = await self._projects.find(project)
        tree = MerkleTree()
        async for batch in self._borrowed(project, 0) if record.home else self._own(project):
            labelled = await self.labels(project, batch.start)
            for at, text in enumerate(batch.texts):
                tree.add(row_leaf(batch.start + at, text, labelled.rows[at]))
        return ReceiptInfo(project, tree.size, tree.root().hex())

    async def judge(self, project: str, texts: list[str]) -> list[RowLabel]:
        """New texts, by the learners here; where they cannot be, by those of another node. Raises `NotFound` when there is none."""
        await self._projects.opened()
        if project in self._projects.own:
            return await self._judge_here(project, texts)
        if project not in self.known():
            await self._sharing.find(project)
        charter = self._sharing.charters.get(project)
        if charter is not None and charter.embedder == await self._reader.name():
            try:
                return await self._judge_here(project, texts)
            except (PeerError, NotAvailable) as error:  # its rows cannot be had, or there is no room for its learners
                log.info("another node is asked about a project", project=project, reason=str(error))
        return await self._lending.judge(project, texts, self._sharing.learners(project))

    async def _judge_here(self, project: str, texts: list[str]) -> list[RowLabel]:
        record = await self._projects.get(project)
        bench = await self._benches.get(project, record)
        vectors = await self._reader.read(texts)
        await self._benches.settled(project)
        return await self._benches.judge(project, record, bench, texts, vectors)

    async def _judge_for_peer(self, project: str, texts: list[str]) -> list[RowLabel]:
        record = await self._projects.get(project)
        if record.local:
            raise NotFound(f"Project {project} is kept on its own machine.")
        if record.embedder != await self._reader.name():
            raise NotAvailable(f"This node does not embed with {record.embedder}.")
        return await self._judge_here(project, texts)

    async def _own(self, project: str) -> AsyncIterator[Batch]:
        for start in await self._book.starts(project):
            if start >= 0:
                yield await self._intake.batch(project, start)

    async def _borrowed(self, project: str, first: int) -> AsyncIterator[Batch]:
        """Batches from the one that holds `first` on. Raises `Conflict` where the swarm keeps only a sample of the pile."""
        async for part in self._sharing.pools.parts(project):
            if part.step > 1:
                home = show_id(node_id_of(self._sharing.charters[project].author))
                raise Conflict(f"The swarm keeps a sample of this pile: all of its rows are at node {home}, which must label them.")
            if part.start >= 0 and part.start + len(part.texts) > first:
                yield Batch(part.start, part.texts, part.vectors)

    # ---- what other nodes say ----------------------------------------------------------------------------------------

    def _on_change(self, project: str) -> None:
        if self._tasks is not None:
            self._tasks.create_task(self._heard(project), name=f"hearing of {project[:8]}")
        else:
            self._benches.outdated(project)

    async def _heard(self, project: str) -> None:
        try:
            await self._learn_changes(project)
        except NotAvailable as error:
            log.warning("corrections are learnt later", project=project, reason=str(error))

    async def _learn_changes(self, project: str) -> None:
        """Answers changed without being given here: the learners here learn it at once."""
        self._benches.outdated(project)
        record = await self._projects.get(project)
        if await self._projects.grow(project, record):
            self._benches.outdated(project)
        if not await self._book.ranks(project) and self._benches.known(project) is None:
            return  # new here and nobody corrected it: learners are made when they are needed
        if record.embedder == await self._reader.name():
            await self._benches.learn_outdated(project, record)

    def _on_head(self, said: HeadStatement) -> None:
        if line := told(said, self._around.name_of):
            self._around.on_event({"project": said.project, "head": line})
        self._spoken_of[said.project] = said
        if self._tasks is not None and said.project not in self._following:
            self._following.add(said.project)
            self._tasks.create_task(self._follow(said.project), name=f"heads of {said.project[:8]}")

    async def _follow(self, project: str) -> None:
        """One at a time for a project: the learners end with what was said last, and whoever says much has them built no more often."""
        try:
            while (said := self._spoken_of.pop(project, None)) is not None:
                await self._benches.heads_changed(said, await self._projects.get(project))
        except NotAvailable as error:
            log.warning("heads are followed later", project=project, reason=str(error))
        finally:
            self._following.discard(project)
