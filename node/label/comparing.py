"""What another node lacks of the projects that both hold, found by comparing marks: digests of all that each node has."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

import msgspec

from node.label.book import LabelBook
from protocol.corrections import Charter, Correction, Distrust, News, mark
from protocol.heads import HeadStatement, head_id
from protocol.messages import LabelSync, ProjectMark

NEWS_BYTES = 900_000
MAX_CHARTERS = 1_000
"""Projects that a node keeps in all, and names when it compares."""

Statement = Correction | HeadStatement | Distrust
"""What is said in a project."""


class Comparing:
    """Of the projects in `charters`."""

    def __init__(
        self,
        book: LabelBook,
        charters: Mapping[str, Charter],
        whole: Callable[[Charter], bool],
        learns: Callable[[str], bool],
        rng: random.Random,
    ) -> None:
        """`whole`: whether all rows of a project are here; `learns`: whether its learners are."""
        self._book = book
        self._charters = charters
        self._whole = whole
        self._learns = learns
        self._rng = rng

    async def marks(self) -> list[ProjectMark]:
        """What this node has, for another to compare."""
        return [await self._mark(project) for project in list(self._charters)[:MAX_CHARTERS]]

    async def lacking(self, message: LabelSync) -> News:
        """What the asker lacks, up to `NEWS_BYTES`; projects and what is said of them in random order, so that what is cut off comes
        another time."""
        theirs = {held.project: held for held in message.held}
        news, size = News([], []), 0
        projects = [project for project in self._charters if message.wanted in ("", project)]
        self._rng.shuffle(projects)
        for project in projects:
            if project not in theirs:
                size += len(msgspec.msgpack.encode(self._charters[project]))
                if size > NEWS_BYTES:
                    break
                news.charters.append(self._charters[project])
            for said in await self._lacking(project, theirs.get(project)):
                size += add(news, said)
                if size > NEWS_BYTES:
                    return news
        return news

    async def _lacking(self, project: str, theirs: ProjectMark | None) -> list[Statement]:
        mine, found = await self._mark(project), list[Statement]()
        if theirs is None or theirs.others != mine.others:
            found += [*await self._book.heads(project), *await self._spoken_for_all(project)]
        if theirs is None or theirs.mark != mine.mark:
            statements = await self._book.statements(project)
            self._rng.shuffle(statements)
            found += statements
        return found

    async def _spoken_for_all(self, project: str) -> list[Distrust]:
        return [said for said in await self._book.distrusts(project) if said.author == self._charters[project].author]

    async def _mark(self, project: str) -> ProjectMark:
        ranks = await self._book.ranks(project)
        heads = [(head_id(said.genome), said.counter, said.author) for said in await self._book.heads(project)]
        distrusts = [(bytes(said.node), said.counter, said.author) for said in await self._spoken_for_all(project)]
        whole, learns = self._whole(self._charters[project]), self._learns(project)
        return ProjectMark(project, len(ranks), mark(ranks), whole, learns, mark([*heads, *distrusts]))


def add(news: News, said: Statement) -> int:
    """Put it into the news; its bytes."""
    if isinstance(said, Correction):
        news.corrections.append(said)
    elif isinstance(said, HeadStatement):
        news.heads.append(said)
    else:
        news.distrusts.append(said)
    return len(msgspec.msgpack.encode(said))
