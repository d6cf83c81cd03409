"""Which labelling projects a node knows: those that were started here, those of the swarm, and those that it has to look up."""

from __future__ import annotations

import asyncio
import hashlib

from node.label.book import LabelBook, ProjectRecord
from node.label.sharing import Sharing
from node.runtime import Runtime
from protocol.errors import InvalidRequest, NotAvailable, NotFound
from protocol.identity import node_id_of, show_id
from protocol.labelling import BUDGET, MAX_LABELS, ProjectRequest

MAX_PROJECTS = 1_000
LOCALLY = "\0local"


class Projects:
    """Their records; `open` before everything else."""

    def __init__(self, runtime: Runtime, book: LabelBook, sharing: Sharing) -> None:
        self._runtime = runtime
        self._book = book
        self._sharing = sharing
        self._loaded = asyncio.Event()
        self.own: dict[str, ProjectRecord] = {}
        """As the book has them."""
        self._others: dict[str, ProjectRecord] = {}
        """Of projects of other nodes: what follows from charter and corrections."""

    async def open(self) -> None:
        self.own = await self._book.projects()
        await self._sharing.open()
        self._loaded.set()

    async def opened(self) -> None:
        """When `open` is done."""
        await self._loaded.wait()

    def known(self) -> list[str]:
        """Projects that this node can answer for: its own, and the swarm's."""
        return list(dict.fromkeys([*self.own, *self._sharing.charters]))

    async def start(self, request: ProjectRequest, embedder: str) -> str:
        """Begin, or go on with, the project of this source. Raises `InvalidRequest`."""
        labels = _checked(request.labels)
        source = request.source + LOCALLY * request.local  # the same pile, shared, is another project
        project = show_id(hashlib.sha256(source.encode()).digest()[:20])
        await self._loaded.wait()
        if project not in self.known():
            if len(self.own) >= MAX_PROJECTS:
                raise NotAvailable(f"This node keeps {MAX_PROJECTS} labelling projects already: ask another node.")
            self.own[project] = ProjectRecord(request.name, labels, _budget(request), request.local, embedder)
            await self.save(project, self.own[project])
        record = await self.get(project)
        if request.budget is not None and request.budget > record.budget:  # to answer more; what was answered is never too much
            record.budget = request.budget
            await self.save(project, record)
        return project

    async def save(self, project: str, record: ProjectRecord) -> None:
        """On disk, if it was started here."""
        if not record.home:
            await self._book.save(project, record, self._runtime.now())

    async def get(self, project: str) -> ProjectRecord:
        """Of a project of this node or of the swarm. Raises `NotFound`."""
        await self._loaded.wait()
        found = self.own.get(project) or self._others.get(project)
        if found is None and (charter := self._sharing.charters.get(project)) is not None:
            home = show_id(node_id_of(charter.author))
            found = ProjectRecord(charter.name, list(charter.labels), charter.budget, False, charter.embedder, True, home)
            self._others[project] = found
            await self.grow(project, found)
        if found is None:
            raise NotFound(f"There is no labelling project {project} on this node: `moot label ls` lists them.")
        return found

    async def find(self, project: str) -> ProjectRecord:
        """The same; one that this node never heard of is looked up in the DHT and learnt from a holder. Raises `NotFound`."""
        await self._loaded.wait()
        if project not in self.known():
            await self._sharing.find(project)
        return await self.get(project)

    async def grow(self, project: str, record: ProjectRecord) -> bool:
        """Labels that corrections brought, in the order they came in, `MAX_LABELS` with the others at most: what lies beyond is learnt by
        nobody. Whether there were any."""
        known = set(record.labels)
        strange = [label for label in (await self._book.answers(project)).values() if label and label not in known]
        strange = list(dict.fromkeys(strange))[: max(0, MAX_LABELS - len(known))]
        if strange:
            record.labels += strange
            await self.save(project, record)
        return bool(strange)


def _budget(request: ProjectRequest) -> int:
    return BUDGET if request.budget is None else request.budget


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
