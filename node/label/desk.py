"""The labelling projects of this node: rows in, questions out, answers in, labels out.

`Desk` owns every project and its tasks; `Bench` is one project with its learners in memory. A pile of more than `POOL` rows is
learnt from through an even sample of it; the other rows are judged like new ones, so memory does not grow with the pile.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

from node.label.book import Batch, LabelBook, ProjectRecord
from node.label.crew import Crew, Pile, Reader
from node.label.lending import Lending
from node.runtime import Runtime
from protocol.errors import Conflict, InvalidRequest, NotAvailable, NotFound
from protocol.identity import NodeId, show_id
from protocol.labelling import (
    AnswerRequest,
    ExamplesRequest,
    HelperInfo,
    ProjectInfo,
    ProjectRequest,
    Questions,
    ReceiptInfo,
    RowLabel,
    RowLabels,
    RowsRequest,
    merkle_root,
    row_leaf,
)

if TYPE_CHECKING:
    from node.label.bench import Bench

POOL = 10_000
OPEN = 4
"""Projects with learners in memory at once; the one used longest ago makes room."""
MAX_PROJECTS = 1_000


class Desk:
    """`run` it in the daemon's TaskGroup."""

    def __init__(self, runtime: Runtime, book: LabelBook, reader: Reader, crew: Crew, lending: Lending) -> None:
        self._runtime = runtime
        self._book = book
        self._reader = reader
        self._crew = crew
        self._lending = lending
        lending.serve(self.judge_here)
        self._thread = runtime.worker("labelling: learners")
        self._benches: dict[str, Bench] = {}
        self._reading: set[str] = set()
        self._barred: dict[str, set[NodeId]] = {}
        self._opening = asyncio.Lock()
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Own the projects' tasks until cancelled; reading that a stop interrupted goes on."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                for project, record in (await self._book.projects()).items():
                    if record.complete and await self._book.unread(project):
                        self._begin_reading(project, record)
                await asyncio.Event().wait()
            finally:
                self._tasks = None

    async def start(self, request: ProjectRequest) -> ProjectInfo:
        """Begin, or go on with, the project of this source. Raises `InvalidRequest`."""
        labels = _checked(request.labels)
        project = show_id(hashlib.sha256(request.source.encode()).digest()[:20])
        known = await self._book.projects()
        if project not in known:
            if len(known) >= MAX_PROJECTS:
                raise NotAvailable(f"This node keeps {MAX_PROJECTS} labelling projects already: ask another node.")
            record = ProjectRecord(request.name, labels, request.budget, request.local, await self._reader.name())
            await self._book.save(project, record, self._runtime.now())
        return await self.info(project)

    async def projects(self) -> list[ProjectInfo]:
        return [await self.info(project) for project in await self._book.projects()]

    async def info(self, project: str) -> ProjectInfo:
        """Raises `NotFound`."""
        record = await self._record(project)
        rows, read, examples = await self._book.sizes(project)
        answers = await self._book.answers(project)
        bench = self._benches.get(project)
        corrections = [label for row, label in answers.items() if label is not None and row >= 0]
        helpers = [HelperInfo(show_id(node), count) for node, count in await self._book.helpers(project)]
        helpers += [HelperInfo(show_id(node), 0, barred=True) for node in sorted(self._barred.get(project, ()))]
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
            changed=await self._book.changed(project),
            budget=record.budget,
            local=record.local,
            helpers=helpers,
            heads=bench.heads() if bench else {},
            expected=bench.expected() if bench else None,
            held_back=bench.held_back() if bench else None,
            hint=hint,
        )

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
        await self._book.answer(project, {start + at: label for at, label in enumerate(request.labels)}, now)
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
        """The next rows to ask about. Raises `Conflict` before the pile is read."""
        bench = await self._bench(project)
        record = await self._record(project)
        spent = len([row for row in bench.answers if row >= 0])
        found = await self._thread.run(bench.questions, min(count, max(0, record.budget - spent)), record.labels)
        return Questions(found, await self.info(project))

    async def answer(self, project: str, request: AnswerRequest) -> ProjectInfo:
        """A label, a skip or an undo; the learners have learnt it when this returns."""
        bench = await self._bench(project)
        record = await self._record(project)
        if request.row not in bench.place:
            raise NotFound(f"Row {request.row} was not asked about: take one from 'next'.", param="row")
        now = self._runtime.now()
        if request.undo:
            await self._book.take_back(project, request.row)
        else:
            await self._book.answer(project, {request.row: request.label}, now)
        if request.label is not None and request.label not in record.labels:
            record.labels.append(request.label)
            await self._book.save(project, record, now)
        bench.answers = await self._book.answers(project)
        await self._thread.run(bench.learn, record.labels)
        if self._tasks is not None and bench.due:
            self._tasks.create_task(self._thread.run(bench.measure, record.labels), name=f"measuring {project[:8]}")
        return await self.info(project)

    async def labels(self, project: str, start: int) -> RowLabels:
        """The rows of the batch that holds `start`, as they are labelled now."""
        record = await self._record(project)
        bench = await self._bench(project)
        batch = await self._book.batch(project, start)
        if batch is None or batch.vectors is None:
            raise NotFound(f"There is no row {start} in project {project}.")
        first = start - batch.start
        rows = (await self._thread.run(bench.judge_batch, batch, record.labels))[first:]
        return RowLabels(start, start + len(rows), rows)

    async def judge(self, project: str, texts: list[str]) -> list[RowLabel]:
        """New texts; a project of another node is asked there."""
        if project not in await self._book.projects():
            return await self._lending.judge(project, texts)
        return await self.judge_here(project, texts)

    async def judge_here(self, project: str, texts: list[str]) -> list[RowLabel]:
        """New texts, by a project of this node."""
        record = await self._record(project)
        bench = await self._bench(project)
        vectors = await self._reader.read(texts)
        return await self._thread.run(bench.judge, texts, vectors, record.labels)

    async def receipt(self, project: str) -> ReceiptInfo:
        """The Merkle root over all rows as they are labelled now."""
        leaves: list[bytes] = []
        for start in await self._book.starts(project):
            if start >= 0:
                batch = await self._fetch(project, start)
                labelled = await self.labels(project, start)
                leaves += [row_leaf(start + at, text, labelled.rows[at]) for at, text in enumerate(batch.texts)]
        return ReceiptInfo(project, len(leaves), merkle_root(leaves).hex())

    # ---- inside ---------------------------------------------------------------------------------------------------

    async def _record(self, project: str) -> ProjectRecord:
        found = (await self._book.projects()).get(project)
        if found is None:
            raise NotFound(f"There is no labelling project {project} on this node: `moot label ls` lists them.")
        return found

    def _begin_reading(self, project: str, record: ProjectRecord) -> None:
        if self._tasks is None:
            raise NotAvailable("This node is not ready: try again in a moment.")
        if project not in self._reading:
            self._reading.add(project)
            self._tasks.create_task(self._read(project, record), name=f"reading {project[:8]}")

    async def _read(self, project: str, record: ProjectRecord) -> None:
        async def disown(node: NodeId) -> list[int]:
            self._barred.setdefault(project, set()).add(node)
            return await self._book.disown(project, node)

        async def keep(start: int, vectors: bytes, node: NodeId) -> None:
            await self._book.read(project, start, vectors, node)

        async def fetch(start: int) -> Batch:
            return await self._fetch(project, start)

        try:
            await self._crew.read(Pile(await self._book.unread(project), fetch, keep, disown), local=record.local)
        finally:
            self._reading.discard(project)

    async def _fetch(self, project: str, start: int) -> Batch:
        batch = await self._book.batch(project, start)
        if batch is None:
            raise NotFound(f"Rows from {start} on of project {project} are gone.")
        return batch

    async def _bench(self, project: str) -> Bench:
        """The project's learners, loaded and taught when they are not in memory. Raises `Conflict` before the pile is read."""
        async with self._opening:
            record = await self._record(project)
            if (bench := self._benches.pop(project, None)) is None:
                rows, read, _ = await self._book.sizes(project)
                if not record.complete or await self._book.unread(project):
                    raise Conflict(f"{read} of {rows} rows are read: wait until the pile is read.", code="not_read")
                from node.label.bench import Bench  # numpy: a node that labels nothing does without

                bench = Bench(hash_seed(project))
                step = max(1, -(-rows // POOL))
                for start in await self._book.starts(project):
                    bench.take(await self._fetch(project, start), step)
                bench.answers = await self._book.answers(project)
                await self._thread.run(bench.open, record.labels)
            self._benches[project] = bench
            while len(self._benches) > OPEN:
                del self._benches[next(iter(self._benches))]
            return bench


def hash_seed(project: str) -> int:
    return int.from_bytes(hashlib.sha256(project.encode()).digest()[:4], "big")


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
