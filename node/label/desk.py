"""The labelling projects of this node: rows in, questions out, answers in, labels out.

`Desk` owns the projects that were started here and their tasks; `Benches` the learners of these and of the swarm's other projects,
which `Sharing` brings. A pile of more than `POOL` rows is learnt from through an even sample of it; the other rows are judged like
new ones, so memory does not grow with the pile.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator

import structlog

from node.label.around import Around
from node.label.benches import Benches
from node.label.book import Batch, LabelBook, ProjectRecord
from node.label.crew import Crew, Pile, Reader
from node.label.lending import Lending
from node.label.sharing import Sharing
from node.runtime import Runtime
from protocol.errors import Conflict, InvalidRequest, NotAvailable, NotFound, PeerError
from protocol.identity import NodeId, node_id_of, show_id
from protocol.labelling import (
    AnswerRequest,
    ChangedAnswer,
    ExamplesRequest,
    GuestsRequest,
    HelperInfo,
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

MAX_PROJECTS = 1_000
MAX_QUESTIONS = 64
LOCALLY = "\0local"

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
        self._runtime = runtime
        self._me = me
        self._book = book
        self._reader = reader
        self._crew = crew
        self._lending = lending
        self._sharing = sharing
        lending.serve(self._judge_for_peer)
        sharing.watch(self._on_change)
        self._around = around or Around()
        self._benches = Benches(runtime, book, sharing, self._around)
        sharing.watch_learners(lambda project: self._benches.known(project) is not None, self._benches.divided)
        self._loaded = asyncio.Event()
        self._records: dict[str, ProjectRecord] = {}
        """As the book has them."""
        self._others: dict[str, ProjectRecord] = {}
        """Of projects of other nodes: what follows from charter and corrections."""
        self._reading: set[str] = set()
        self._barred: dict[str, set[NodeId]] = {}
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Own the projects' tasks until cancelled; reading that a stop interrupted goes on."""
        self._records = await self._book.projects()
        await self._sharing.open()
        self._loaded.set()
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self._benches.start(tasks)
            tasks.create_task(self._sharing.run(), name="labelling: sharing")
            try:
                for project, record in list(self._records.items()):
                    unread = await self._book.unread(project)
                    if record.complete and (unread or not (record.local or project in self._sharing.charters)):
                        self._begin_reading(project, record)
                await asyncio.Event().wait()
            finally:
                self._tasks = None
                self._benches.start(None)

    async def start(self, request: ProjectRequest) -> ProjectInfo:
        """Begin, or go on with, the project of this source. Raises `InvalidRequest`."""
        labels = _checked(request.labels)
        source = request.source + LOCALLY * request.local  # the same pile, shared, is another project
        project = show_id(hashlib.sha256(source.encode()).digest()[:20])
        await self._loaded.wait()
        if project not in self.known():
            if len(self._records) >= MAX_PROJECTS:
                raise NotAvailable(f"This node keeps {MAX_PROJECTS} labelling projects already: ask another node.")
            record = ProjectRecord(request.name, labels, request.budget, request.local, await self._reader.name())
            if project not in self._records:  # the same file twice at once
                self._records[project] = record
                await self._book.save(project, record, self._runtime.now())
        await self._raise_budget(project, request.budget)
        return await self.info(project)

    async def _raise_budget(self, project: str, budget: int) -> None:
        """Whoever goes on with a project may want to answer more; what was answered already is never too much."""
        record = await self._record(project)
        if budget > record.budget:
            record.budget = budget
            if not record.home:
                await self._book.save(project, record, self._runtime.now())

    def known(self) -> list[str]:
        """Projects that this node can answer for: its own, and the swarm's."""
        return list(dict.fromkeys([*self._records, *self._sharing.charters]))

    async def projects(self) -> list[ProjectInfo]:
        return [await self.info(project) for project in self.known()]

    async def info(self, project: str) -> ProjectInfo:
        """Raises `NotFound`."""
        record = await self._record(project)
        rows, read, examples = await self._book.sizes(project)
        if record.home:
            rows = read = self._sharing.charters[project].rows
        answers = await self._book.answers(project)
        bench = self._benches.known(project)
        corrections = [label for row, label in answers.items() if label is not None and row >= 0]
        helpers = [HelperInfo(show_id(node), count) for node, count in await self._book.helpers(project)]
        helpers += [HelperInfo(show_id(node), 0, barred=True) for node in sorted(self._barred.get(project, ()))]
        changed, latest = await self._book.changed(project)
        phase = "filling" if not record.complete else "reading" if read < rows else "asking"
        hint = {"filling": "Rows are still being sent.", "reading": f"{read} of {rows} rows are read."}.get(phase, "")
        if phase == "asking" and bench is not None:
            enough, hint = bench.advice(len(corrections), record.budget)
            phase = "enough" if enough else phase
        return ProjectInfo(
            id=project,
            name=record.name,
            phase=phase,
            labels=record.labels,
            rows=rows,
            read=read,
            examples=examples,
            corrections=len(corrections),
            skipped=sum(label is None for label in answers.values()),
            changed=changed,
            budget=record.budget,
            local=record.local,
            helpers=helpers,
            heads=bench.heads() if bench else {},
            expected=bench.expected() if bench else None,
            held_back=bench.held_back() if bench else None,
            hint=hint,
            home=record.home or show_id(self._me),
            holders=self._sharing.holders(project) if project in self._sharing.charters else 1,
            latest_changes=[ChangedAnswer(*change) for change in latest],
            guests=bench.guest_infos() if bench else [],
            learners=[self._around.name_of(node) for node in self._learners(project)],
        )

    def _learners(self, project: str) -> list[NodeId]:
        if project in self._sharing.charters:
            return self._sharing.learners(project)
        return [self._me] if self._benches.known(project) is not None else []

    async def ask_guests(self, project: str, request: GuestsRequest) -> ProjectInfo:
        """Pause the brains that read rows of this project here, or let them go on."""
        record = await self._record(project)
        if request.asked:
            self._benches.invitations.paused.discard(project)
            self._benches.invite(project, record, await self._benches.get(project, record))
        else:
            self._benches.invitations.paused.add(project)
        return await self.info(project)

    async def add(self, project: str, request: RowsRequest) -> ProjectInfo:
        """Take rows. Raises `Conflict` when they do not follow those that are here."""
        record = await self._record(project)
        if record.complete:
            return await self.info(project)
        rows = (await self._book.sizes(project))[0]
        if request.start > rows:
            raise Conflict(f"Row {request.start} was sent, but {rows} is next: send the rows between.", param="start")
        if request.start == rows:
            await self._book.add(project, request.start, request.texts)
        return await self.info(project)

    async def add_examples(self, project: str, request: ExamplesRequest) -> ProjectInfo:
        """Texts whose labels are known. Raises `InvalidRequest` for a label that the project does not have."""
        record = await self._record(project)
        if len(request.texts) != len(request.labels):
            raise InvalidRequest("There must be one label for each example.", param="labels")
        if record.complete:
            return await self.info(project)
        strange = sorted(set(request.labels) - set(record.labels))
        if record.labels and strange:
            raise InvalidRequest(
                f"The examples have the label '{strange[0]}', which is not among {', '.join(record.labels[:20])}: "
                "correct the examples or add it to --labels.",
                param="labels",
            )
        record.labels += [label for label in dict.fromkeys(request.labels) if label not in record.labels]
        start = -(await self._book.sizes(project))[2] - len(request.texts)
        await self._book.add(project, start, request.texts)
        now = self._runtime.now()
        await self._book.examples(project, {start + at: label for at, label in enumerate(request.labels)}, now)
        await self._book.save(project, record, now)
        return await self.info(project)

    async def complete(self, project: str) -> ProjectInfo:
        """All rows are here: reading begins. Raises `InvalidRequest` for an empty pile."""
        record = await self._record(project)
        if not (await self._book.sizes(project))[0]:
            raise InvalidRequest("The pile is empty: send rows first.")
        if not record.complete:
            record.complete = True
            await self._book.save(project, record, self._runtime.now())
        if await self._book.unread(project):
            self._begin_reading(project, record)
        return await self.info(project)

    async def questions(self, project: str, count: int) -> Questions:
        """The next rows to ask about. Where people answer at several nodes, each has its own.

        Raises `Conflict` before the pile is read.
        """
        record = await self._record(project)
        bench = await self._benches.get(project, record)
        spent = len([row for row in bench.answers if row >= 0])
        count = min(count, max(0, record.budget - spent))
        asking = sorted({node_id_of(author) for _, _, author in await self._book.ranks(project)} | {self._me})
        found = await self._benches.thread.run(bench.questions, min(count * len(asking), MAX_QUESTIONS), record.labels)
        mine = found[asking.index(self._me) % len(asking) :: len(asking)] or found[:count]
        return Questions(mine[:count], await self.info(project))

    async def answer(self, project: str, request: AnswerRequest) -> ProjectInfo:
        """A label, a skip or an undo; the learners here have learnt it when this returns, those of other nodes hear of it."""
        record = await self._record(project)
        bench = await self._benches.get(project, record)
        if request.row not in bench.place:
            raise NotFound(f"Row {request.row} was not asked about: take one from 'next'.", param="row")
        await self._sharing.correct(project, request.row, request.label, undo=request.undo)
        await self._grow(project, record)
        await self._benches.learn(project, record, bench)
        return await self.info(project)

    async def labels(self, project: str, start: int) -> RowLabels:
        """The rows of the batch that holds `start`, as they are labelled now."""
        record = await self._record(project)
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

    async def judge(self, project: str, texts: list[str]) -> list[RowLabel]:
        """New texts, by the learners here; where they cannot be, by those of another node. Raises `NotFound` when there is none."""
        if project in self._records:
            return await self._judge_here(project, texts)
        charter = self._sharing.charters.get(project)
        if charter is not None and charter.embedder == await self._reader.name():
            try:
                return await self._judge_here(project, texts)
            except (PeerError, NotAvailable) as error:  # its rows cannot be had, or there is no room for its learners
                log.info("another node is asked about a project", project=project, reason=str(error))
        return await self._lending.judge(project, texts, self._sharing.learners(project))

    async def _judge_here(self, project: str, texts: list[str]) -> list[RowLabel]:
        record = await self._record(project)
        bench = await self._benches.get(project, record)
        vectors = await self._reader.read(texts)
        await self._benches.settled(project)
        return await self._benches.judge(project, record, bench, texts, vectors)

    async def _judge_for_peer(self, project: str, texts: list[str]) -> list[RowLabel]:
        record = await self._record(project)
        if record.local:
            raise NotFound(f"Project {project} is kept on its own machine.")
        if record.embedder != await self._reader.name():
            raise NotAvailable(f"This node does not embed with {record.embedder}.")
        return await self._judge_here(project, texts)

    async def receipt(self, project: str) -> ReceiptInfo:
        """The Merkle root over all rows as they are labelled now."""
        record = await self._record(project)
        tree = MerkleTree()
        async for batch in self._borrowed(project, 0) if record.home else self._own(project):
            labelled = await self.labels(project, batch.start)
            for at, text in enumerate(batch.texts):
                tree.add(row_leaf(batch.start + at, text, labelled.rows[at]))
        return ReceiptInfo(project, tree.size, tree.root().hex())

    # ---- inside ---------------------------------------------------------------------------------------------------

    async def _record(self, project: str) -> ProjectRecord:
        """Of a project of this node or of the swarm. Raises `NotFound`."""
        await self._loaded.wait()
        found = self._records.get(project) or self._others.get(project)
        if found is None and (charter := self._sharing.charters.get(project)) is not None:
            home = show_id(node_id_of(charter.author))
            found = ProjectRecord(charter.name, list(charter.labels), charter.budget, False, charter.embedder, True, home)
            self._others[project] = found
            await self._grow(project, found)
        if found is None:
            raise NotFound(f"There is no labelling project {project} on this node: `moot label ls` lists them.")
        return found

    async def _grow(self, project: str, record: ProjectRecord) -> bool:
        """Labels that corrections brought, in the order they came in; whether there were any."""
        strange = [label for label in (await self._book.answers(project)).values() if label and label not in record.labels]
        if strange:
            record.labels += dict.fromkeys(strange)
            if not record.home:
                await self._book.save(project, record, self._runtime.now())
        return bool(strange)

    def _on_change(self, project: str) -> None:
        self._benches.outdated(project)
        if self._tasks is not None:
            self._tasks.create_task(self._changed(project), name=f"hearing of {project[:8]}")

    async def _changed(self, project: str) -> None:
        """Others corrected a row: the learners here learn it at once."""
        record = await self._record(project)
        if await self._grow(project, record):
            self._benches.outdated(project)
        if not await self._book.ranks(project):
            return  # new here and nobody corrected it: learners are made when they are needed
        if record.embedder == await self._reader.name():
            await self._benches.learn_outdated(project, record)

    async def _own(self, project: str) -> AsyncIterator[Batch]:
        for start in await self._book.starts(project):
            if start >= 0:
                yield await self._fetch(project, start)

    async def _borrowed(self, project: str, first: int) -> AsyncIterator[Batch]:
        """Batches from the one that holds `first` on. Raises `Conflict` where the swarm keeps only a sample of the pile."""
        async for part in self._sharing.parts(project):
            if part.step > 1:
                home = self._others[project].home
                raise Conflict(f"The swarm keeps a sample of this pile: all of its rows are at node {home}, which must label them.")
            if part.start >= 0 and part.start + len(part.texts) > first:
                yield Batch(part.start, part.texts, part.vectors)

    def _begin_reading(self, project: str, record: ProjectRecord) -> None:
        if self._tasks is None:
            raise NotAvailable("This node is not ready: try again in a moment.")
        if project not in self._reading:
            self._reading.add(project)
            self._tasks.create_task(self._read(project, record), name=f"reading {project[:8]}")

    async def _read(self, project: str, record: ProjectRecord) -> None:
        async def disown(node: NodeId) -> list[int]:
            self._barred.setdefault(project, set()).add(node)
            self._sharing.barred.add(node)
            return await self._book.disown(project, node)

        async def keep(start: int, vectors: bytes, node: NodeId) -> None:
            await self._book.read(project, start, vectors, node)

        async def fetch(start: int) -> Batch:
            return await self._fetch(project, start)

        try:
            await self._crew.read(Pile(await self._book.unread(project), fetch, keep, disown), local=record.local)
            if not record.local:
                await self._benches.share(project, record)
        finally:
            self._reading.discard(project)

    async def _fetch(self, project: str, start: int) -> Batch:
        batch = await self._book.batch(project, start)
        if batch is None:
            raise NotFound(f"Rows from {start} on of project {project} are gone.")
        return batch


def _checked(labels: list[str]) -> list[str]:
    """Raises `InvalidRequest` for labels that nobody could choose between."""
    stripped = [label.strip() for label in labels]
    if not all(stripped):
        raise InvalidRequest("A label is empty: give each a name.", param="labels")
    twice = next((label for label in stripped if stripped.count(label) > 1), None)
    if twice is not None:
        raise InvalidRequest(f"The label '{twice}' stands twice: give each once.", param="labels")
    if len(stripped) == 1:
        raise InvalidRequest("There is one label only: give two or more, or none and name them while you answer.", param="labels")
    return stripped
