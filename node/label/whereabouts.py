"""Where projects are: what nodes say of themselves when they catch up, and what they write in the DHT for those who never heard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from node.runtime import Runtime
from protocol.corrections import NOTICE_NAME, NOTICE_PARTS, Charter, Notice, pack_notice, read_notice
from protocol.errors import Malformed, PeerError, UserError
from protocol.identity import NodeId, node_id_of
from protocol.messages import ProjectMark
from protocol.records import Record, key_of

TTL_S = 6 * 3_600
AGAIN_S = 3_600.0
"""A notice is written anew so often."""
FIND_S = 6.0
MAX_FOUND = 4
"""Nodes asked for a project that nobody here has heard of: anybody may write a notice."""

log = structlog.get_logger("labelling")


class Shelf(Protocol):
    """The part of the DHT that is needed here (`node.dht.service.Dht`)."""

    async def put(self, key: bytes, subkey: str, value: bytes, ttl_s: int) -> object: ...

    async def get(self, key: bytes) -> list[Record]: ...


class Whereabouts:
    """Who holds which project, and who has its learners."""

    def __init__(self, runtime: Runtime, me: Callable[[], NodeId], living: Callable[[], list[NodeId]], shelf: Shelf | None) -> None:
        self._runtime = runtime
        self._me = me
        self._living = living
        self._shelf = shelf
        self._holders: dict[str, set[NodeId]] = {}
        self._learners: dict[str, set[NodeId]] = {}
        self._written: dict[str, float] = {}
        """When this node's notice of a project was written."""

    def hear(self, node: NodeId, held: ProjectMark) -> bool:
        """What a node says of a known project; whether it has become a learner of it, or is no longer."""
        if held.whole:
            self._holders.setdefault(held.project, set()).add(node)
        known = self._learners.get(held.project, set())
        if held.learns == (node in known):
            return False
        self._learners[held.project] = known | {node} if held.learns else known - {node}
        return True

    def holders(self, project: str) -> set[NodeId]:
        """Live nodes that said they hold it, this one left out."""
        return self._holders.get(project, set()) & set(self._living()) - {self._me()}

    def learners(self, project: str) -> set[NodeId]:
        """Live nodes that said they have its learners, this one left out."""
        return self._learners.get(project, set()) & set(self._living()) - {self._me()}

    def near(self, charter: Charter) -> list[NodeId]:
        """Who may hold its blobs: its author, then those who said so, then anybody."""
        author, said = node_id_of(charter.author), self._holders.get(charter.project, set())
        others = [node for node in self._living() if node != self._me()]
        return sorted(others, key=lambda node: (node != author, node not in said))

    # ---- the DHT -------------------------------------------------------------------------------------------------------

    def due(self, project: str) -> bool:
        """Whether this node's notice should be written, again or at first."""
        written = self._written.get(project)
        return self._shelf is not None and (written is None or self._runtime.monotonic() - written >= AGAIN_S)

    async def write(self, charter: Charter, labels: int, corrections: int, *, learns: bool) -> None:
        """This node's notice that it holds the project; where the DHT fails, another time."""
        name = charter.name.encode()[-NOTICE_NAME:].decode(errors="ignore")
        notice = Notice(name, labels, charter.rows, corrections, charter.author, charter.parts[:NOTICE_PARTS], learns)
        assert self._shelf is not None
        try:
            async with asyncio.timeout(2 * FIND_S):
                await self._shelf.put(_key(charter.project), "", pack_notice(notice), TTL_S)
        except (PeerError, UserError, TimeoutError) as error:
            log.info("a project's notice is not written", project=charter.project, reason=str(error))
            return
        self._written[charter.project] = self._runtime.monotonic()

    async def find(self, project: str) -> list[NodeId]:
        """Who says in the DHT that it holds this project, those with its learners first; none where the DHT does not answer."""
        if self._shelf is None:
            return []
        try:
            async with asyncio.timeout(FIND_S):
                records = await self._shelf.get(_key(project))
        except (PeerError, UserError, TimeoutError) as error:
            log.info("a project cannot be looked up", project=project, reason=str(error))
            return []
        found: list[tuple[bool, NodeId]] = []
        for record in records:
            try:
                notice = read_notice(record.value)
            except Malformed:
                continue
            if (node := node_id_of(record.author)) != self._me():
                found.append((not notice.learns, node))
        return [node for _, node in sorted(found)][:MAX_FOUND]


def _key(project: str) -> bytes:
    return key_of(f"moot labelling project {project}")
