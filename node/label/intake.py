"""How a pile comes in: rows and examples as they are sent, then read by every machine that helps, then given to the swarm."""

from __future__ import annotations

import asyncio

import structlog

from node.label.benches import Benches
from node.label.book import Batch, LabelBook, ProjectRecord
from node.label.crew import Crew, Pile
from node.label.projects import Projects
from node.label.sharing import Sharing
from node.runtime import Runtime
from protocol.errors import Conflict, InvalidRequest, NotAvailable, NotFound
from protocol.identity import NodeId
from protocol.labelling import ExamplesRequest, RowsRequest

AGAIN_S = 10.0
"""When a pile that could not be read, or its vectors not be kept, is tried again."""

log = structlog.get_logger("labelling")


class Intake:
    """Of the projects that were started here."""

    def __init__(self, runtime: Runtime, book: LabelBook, projects: Projects, crew: Crew, benches: Benches, sharing: Sharing) -> None:
        self._runtime = runtime
        self._book = book
        self._projects = projects
        self._crew = crew
        self._benches = benches
        self._sharing = sharing
        self._reading: set[str] = set()
        self.barred: dict[str, set[NodeId]] = {}
        """Nodes whose vectors for a project were not right."""
        self._tasks: asyncio.TaskGroup | None = None

    async def start(self, tasks: asyncio.TaskGroup | None) -> None:
        """Reading is owned by this group from now on; what a stop interrupted goes on."""
        self._tasks = tasks
        for project, record in list(self._projects.own.items()) if tasks is not None else ():
            unread = await self._book.unread(project)
            if record.complete and (unread or not (record.local or project in self._sharing.charters)):
                self._begin_reading(project, record)

    def stop(self) -> None:
        self._tasks = None

    async def add(self, project: str, request: RowsRequest) -> None:
        """Take rows. Raises `Conflict` when they do not follow those that are here."""
        if (await self._projects.get(project)).complete:
            return
        rows = (await self._book.sizes(project))[0]
        if request.start > rows:
            raise Conflict(f"Row {request.start} was sent, but {rows} is next: send the rows between.", param="start")
        if request.start == rows:
            await self._book.add(project, request.start, request.texts)

    async def add_examples(self, project: str, request: ExamplesRequest) -> None:
        """Texts whose labels are known. Raises `InvalidRequest` for a label that the project does not have."""
        record = await self._projects.get(project)
        if len(request.texts) != len(request.labels):
            raise InvalidRequest("There must be one label for each example.", param="labels")
        if record.complete:
            return
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
        await self._book.examples(project, {start + at: label for at, label in enumerate(request.labels)}, self._runtime.now())
        await self._projects.save(project, record)

    async def complete(self, project: str) -> None:
        """All rows are here: reading begins. Raises `InvalidRequest` for an empty pile."""
        record = await self._projects.get(project)
        if not (await self._book.sizes(project))[0]:
            raise InvalidRequest("The pile is empty: send rows first.")
        if not record.complete:
            record.complete = True
            await self._projects.save(project, record)
        if await self._book.unread(project):
            self._begin_reading(project, record)

    async def batch(self, project: str, start: int) -> Batch:
        """Raises `NotFound`."""
        batch = await self._book.batch(project, start)
        if batch is None:
            raise NotFound(f"Rows from {start} on of project {project} are gone.")
        return batch

    def _begin_reading(self, project: str, record: ProjectRecord) -> None:
        if self._tasks is None:
            raise NotAvailable("This node is not ready: try again in a moment.")
        if project not in self._reading:
            self._reading.add(project)
            self._tasks.create_task(self._read(project, record), name=f"reading {project[:8]}")

    async def _read(self, project: str, record: ProjectRecord) -> None:
        async def disown(node: NodeId) -> list[int]:
            self.barred.setdefault(project, set()).add(node)
            self._sharing.barred.add(node)
            return await self._book.disown(project, node)

        async def keep(start: int, vectors: bytes, node: NodeId) -> None:
            await self._book.read(project, start, vectors, node)

        async def fetch(start: int) -> Batch:
            return await self.batch(project, start)

        done = False
        try:
            while not done:
                try:
                    await self._crew.read(Pile(await self._book.unread(project), fetch, keep, disown), local=record.local)
                    if not record.local:
                        await self._benches.share(project, record)
                    done = True
                except* NotAvailable as group:  # the disk is full, for one
                    log.warning("a pile is not read yet", project=project, reason=str(group.exceptions[0]))
                    await asyncio.sleep(AGAIN_S)
        finally:
            self._reading.discard(project)
