"""Which statements of other nodes are taken: whose they must be, how far their counters may run ahead, and that they were signed."""

from __future__ import annotations

from collections.abc import Mapping

from node.label.book import LabelBook
from node.runtime import Runtime
from protocol.corrections import Charter, Correction, Distrust, check_counter, check_statement, may_be_corrected
from protocol.heads import MAX_TOLD, HeadStatement, check_statement_of_head, head_id
from protocol.identity import NodeId, node_id_of


class Hearing:
    """On projects in `charters`. Every method says whether the statement stands now; they raise `BadSignature` and `Malformed`."""

    def __init__(self, runtime: Runtime, book: LabelBook, charters: Mapping[str, Charter]) -> None:
        self._runtime = runtime
        self._book = book
        self._charters = charters
        self.barred: set[NodeId] = set()
        """Found lying here: their corrections and heads are not taken."""

    async def correction(self, said: Correction) -> bool:
        """Of a row that learners know, by a member that is trusted."""
        charter = self._charters.get(said.project)
        if charter is None or not may_be_corrected(charter, said.row) or not await self._trusts(said.author, said.project):
            return False
        check_counter(said.counter, self._runtime.now())
        await self._runtime.run_blocking(check_statement, said)
        return await self._book.correct(said)

    async def distrust(self, said: Distrust) -> bool:
        """Only whoever started a project speaks for all nodes."""
        charter = self._charters.get(said.project)
        if charter is None or charter.author != said.author:
            return False
        check_counter(said.counter, self._runtime.now())
        await self._runtime.run_blocking(check_statement, said)
        return await self._book.distrust(said)

    async def head(self, said: HeadStatement) -> bool:
        """Founders are named by whoever started the project; of a child only its bearer says that it is on trial or votes, and any node
        that it is dead. Whether it votes here, corrections held back here decide."""
        charter = self._charters.get(said.project)
        if charter is None or not await self._trusts(said.author, said.project):
            return False
        founder = said.genome.generation == 0
        if said.author != (charter.author if founder else said.bearer) and (founder or said.standing != "dead"):
            return False
        known = {head_id(one.genome): one for one in await self._book.heads(said.project)}
        before = known.get(head_id(said.genome))
        if (before is None and len(known) >= MAX_TOLD) or (before is not None and before.bearer != said.bearer):
            return False
        check_counter(said.counter, self._runtime.now())
        await self._runtime.run_blocking(check_statement_of_head, said)
        return await self._book.keep_head(said)

    async def _trusts(self, author: bytes, project: str) -> bool:
        node = node_id_of(author)
        return node not in self.barred and node not in await self.distrusted(project)

    async def distrusted(self, project: str) -> set[NodeId]:
        """Nodes whose corrections of this project are not taken here."""
        return {NodeId(said.node) for said in await self._book.distrusts(project) if not said.trusted}
